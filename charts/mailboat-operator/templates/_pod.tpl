{{/* The pod of the Deployment. */}}

{{- define "mailboat-operator.pod" -}}
serviceAccountName: {{ include "mailboat-operator.serviceAccount" . }}
automountServiceAccountToken: true
enableServiceLinks: false
{{- include "mailboat-operator.pullSecrets" . }}
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
{{- include "mailboat-operator.placement" . }}
{{- with .Values.extraInitContainers }}
initContainers:
  {{- toYaml . | nindent 2 }}
{{- end }}
containers:
  {{- include "mailboat-operator.container" . | nindent 2 }}
  {{- with .Values.extraContainers }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
volumes:
  - name: tmp
    emptyDir:
      sizeLimit: 64Mi
  {{- with .Values.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "mailboat-operator.placement" -}}
{{- range $key := list "dnsConfig" "hostAliases" "nodeSelector" "tolerations" "affinity" }}
{{- with index $.Values $key }}
{{ $key }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- range $key := list "dnsPolicy" "priorityClassName" "runtimeClassName" "schedulerName" }}
{{- with index $.Values $key }}
{{ $key }}: {{ . }}
{{- end }}
{{- end }}
topologySpreadConstraints:
{{- if .Values.topologySpreadConstraints }}
  {{- toYaml .Values.topologySpreadConstraints | nindent 2 }}
{{- else }}
  - topologyKey: kubernetes.io/hostname
    maxSkew: 1
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "mailboat-operator.selectorLabels" . | nindent 8 }}
{{- end }}
{{- end -}}

{{- define "mailboat-operator.container" -}}
- name: operator
  image: {{ include "mailboat-operator.image" . }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  args:
    - operator
    - --listen={{ .Values.listen }}
    {{- if .Values.watch.allNamespaces }}
    - --all-namespaces
    {{- else }}
    {{- range .Values.watch.namespaces | default (list .Release.Namespace) }}
    - --namespace={{ . }}
    {{- end }}
    {{- end }}
    {{- with .Values.extraArgs }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  env:
    {{- range $name, $path := dict "POD_NAME" "metadata.name" "POD_NAMESPACE" "metadata.namespace" }}
    - name: {{ $name }}
      valueFrom:
        fieldRef:
          apiVersion: v1
          fieldPath: {{ $path }}
    {{- end }}
    {{- with .Values.extraEnv }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .Values.extraEnvFrom }}
  envFrom:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  ports:
    - {name: metrics, containerPort: {{ splitList ":" .Values.listen | last }}}
  {{- range $probe, $path := dict "readinessProbe" "/readyz" "livenessProbe" "/livez" }}
  {{ $probe }}:
    httpGet:
      path: {{ $path }}
      port: metrics
    {{- toYaml (index $.Values $probe) | nindent 4 }}
  {{- end }}
  resources:
    {{- toYaml .Values.resources | nindent 4 }}
  securityContext:
    {{- toYaml .Values.securityContext | nindent 4 }}
  volumeMounts:
    - {name: tmp, mountPath: /tmp}
    {{- with .Values.extraVolumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}
