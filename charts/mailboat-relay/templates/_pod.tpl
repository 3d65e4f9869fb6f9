{{/* The pods of the StatefulSet: how many, what they are, and their volumes. */}}

{{/*
With an autoscaler the number that runs is said again, so that no upgrade changes it: without a number Kubernetes takes 1.
A StatefulSet that was deleted under its pods (docs/kubernetes.md, volumes) is known from its autoscaler. Nothing at the
first installation, and in `helm template`, which cannot look: then the autoscaler makes `minReplicas` of it.
*/}}
{{- define "mailboat-relay.replicas" -}}
{{- if not .Values.autoscaling.enabled }}{{ .Values.replicaCount }}
{{- else if include "mailboat-relay.running" . | int }}{{ include "mailboat-relay.running" . }}
{{- else }}
{{- $autoscaler := lookup "autoscaling/v2" "HorizontalPodAutoscaler" .Release.Namespace (include "mailboat-relay.fullname" .) }}
{{- with dig "status" "desiredReplicas" 0 $autoscaler | int }}{{ . }}{{ end }}
{{- end -}}
{{- end -}}

{{/* How many pods the StatefulSet asks for before this upgrade; empty where there is none. */}}
{{- define "mailboat-relay.running" -}}
{{- dig "spec" "replicas" "" (lookup "apps/v1" "StatefulSet" .Release.Namespace (include "mailboat-relay.fullname" .)) -}}
{{- end -}}

{{- define "mailboat-relay.pod" -}}
serviceAccountName: {{ include "mailboat-relay.serviceAccount" . }}
automountServiceAccountToken: false
# Variables such as MAILBOAT_…_PORT of a Service called mailboat are not the relay's.
enableServiceLinks: false
{{- include "mailboat-relay.pullSecrets" . }}
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds | default (add .Values.drainTimeoutSeconds .Values.preStopSleepSeconds 15) }}
{{- include "mailboat-relay.placement" . }}
{{- if or .Values.extraInitContainers .Values.resolver.enabled }}
initContainers:
  {{- with .Values.extraInitContainers }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- if .Values.resolver.enabled }}
  {{- include "mailboat-relay.resolver" . | nindent 2 }}
  {{- end }}
{{- end }}
containers:
  {{- include "mailboat-relay.container" . | nindent 2 }}
  {{- with .Values.extraContainers }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
volumes:
  - name: config
    projected:
      defaultMode: 288 # 0440: the group is fsGroup
      sources:
        {{- include "mailboat-relay.configSources" . | nindent 8 }}
  - name: dkim
    projected:
      defaultMode: 288
      sources:
        {{- include "mailboat-relay.dkimSources" . | trim | nindent 8 }}
  - name: tmp
    emptyDir:
      sizeLimit: 64Mi
  {{- if not .Values.persistence.enabled }}
  - name: queue
    emptyDir:
      sizeLimit: {{ .Values.persistence.size }}
  {{- end }}
  {{- if .Values.resolver.enabled }}
  {{- include "mailboat-relay.resolverVolumes" . | nindent 2 }}
  {{- end }}
  {{- with .Values.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "mailboat-relay.placement" -}}
{{- if .Values.hostNetwork }}
hostNetwork: true
{{- end }}
{{- with .Values.dnsPolicy | default (ternary "ClusterFirstWithHostNet" "" .Values.hostNetwork) }}
dnsPolicy: {{ . }}
{{- end }}
{{- if kindIs "bool" .Values.hostUsers }}
hostUsers: {{ .Values.hostUsers }}
{{- end }}
{{- range $key := list "dnsConfig" "hostAliases" "nodeSelector" "tolerations" "affinity" }}
{{- with index $.Values $key }}
{{ $key }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- range $key := list "priorityClassName" "runtimeClassName" "schedulerName" }}
{{- with index $.Values $key }}
{{ $key }}: {{ . }}
{{- end }}
{{- end }}
topologySpreadConstraints:
{{- if .Values.topologySpreadConstraints }}
  {{- toYaml .Values.topologySpreadConstraints | nindent 2 }}
{{- else }}
{{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - topologyKey: {{ . }}
    maxSkew: 1
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "mailboat-relay.selectorLabels" $ | nindent 8 }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "mailboat-relay.container" -}}
- name: relay
  image: {{ include "mailboat-relay.image" (list . .Values.image) }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  args:
    - relay
    - --config=/etc/mailboat
    - --log-format={{ .Values.logFormat }}
    - --drain-timeout={{ .Values.drainTimeoutSeconds }}
    {{- if .Values.lastGood }}
    - --last-good
    {{- end }}
    {{- with .Values.extraArgs }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  env:
    {{- include "mailboat-relay.env" . | nindent 4 }}
  {{- with .Values.extraEnvFrom }}
  envFrom:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  ports:
    - {name: smtp, containerPort: 2525}
    - {name: submission, containerPort: 2587}
    {{- if .Values.smtps.enabled }}
    - {name: submissions, containerPort: 2465}
    {{- end }}
    - {name: admin, containerPort: 9025}
    {{- with .Values.extraPorts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- range $probe, $path := dict "startupProbe" "/startupz" "readinessProbe" "/readyz" "livenessProbe" "/livez" }}
  {{ $probe }}:
    httpGet:
      path: {{ $path }}
      port: admin
    {{- toYaml (index $.Values $probe) | nindent 4 }}
  {{- end }}
  {{- if .Values.lifecycle }}
  lifecycle:
    {{- toYaml .Values.lifecycle | nindent 4 }}
  {{- else if .Values.preStopSleepSeconds }}
  lifecycle:
    preStop:
      sleep:
        seconds: {{ .Values.preStopSleepSeconds }}
  {{- end }}
  resources:
    {{- toYaml .Values.resources | nindent 4 }}
  securityContext:
    {{- toYaml .Values.securityContext | nindent 4 }}
  volumeMounts:
    # A directory, never subPath: those do not see changes.
    - {name: config, mountPath: /etc/mailboat, readOnly: true}
    - {name: dkim, mountPath: /etc/mailboat/dkim, readOnly: true}
    - {name: queue, mountPath: /var/spool/mailboat}
    - {name: tmp, mountPath: /tmp}
    {{- with .Values.extraVolumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{/* `apiVersion: v1` is what the API server fills in: said in full, nothing differs at the next upgrade. */}}
{{- define "mailboat-relay.env" -}}
- name: MAILBOAT_QUEUE_DIR
  value: /var/spool/mailboat
{{- if .Values.resolver.enabled }}
- name: MAILBOAT_DNS_SERVERS
  value: 127.0.0.1:{{ include "mailboat-relay.resolverPort" . }}
{{- end }}
{{- range $name, $path := dict "POD_NAME" "metadata.name" "POD_NAMESPACE" "metadata.namespace" "POD_IP" "status.podIP" "POD_IPS" "status.podIPs" "POD_INDEX" "metadata.labels['apps.kubernetes.io/pod-index']" }}
- name: {{ $name }}
  valueFrom:
    fieldRef:
      apiVersion: v1
      fieldPath: {{ $path }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "mailboat-relay.claims" -}}
{{- if .Values.persistence.enabled -}}
persistentVolumeClaimRetentionPolicy:
  {{- toYaml .Values.persistence.retention | nindent 2 }}
volumeClaimTemplates:
  - apiVersion: v1
    kind: PersistentVolumeClaim
    metadata:
      name: queue
      {{- /* Kubernetes refuses any change here: no chart version, and no labels that may change. */}}
      labels:
        {{- include "mailboat-relay.selectorLabels" . | nindent 8 }}
        {{- with .Values.persistence.labels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with .Values.persistence.annotations }}
      annotations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    spec:
      accessModes:
        {{- toYaml .Values.persistence.accessModes | nindent 8 }}
      {{- with .Values.persistence.storageClass }}
      storageClassName: {{ . }}
      {{- end }}
      {{- with .Values.persistence.selector }}
      selector:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      resources:
        requests:
          storage: {{ .Values.persistence.size }}
{{- end -}}
{{- end -}}
