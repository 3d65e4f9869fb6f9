{{/* Names and labels. */}}

{{- define "mailboat-relay.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{/* At most 52 characters: the StatefulSet controller adds a hash of 10 and a hyphen for a label of at most 63. */}}
{{- define "mailboat-relay.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "mailboat-relay.outboundConfig" -}}
{{- default (include "mailboat-relay.fullname" .) .Values.outboundConfig.name -}}
{{- end -}}

{{- define "mailboat-relay.serviceAccount" -}}
{{- default (ternary (include "mailboat-relay.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name -}}
{{- end -}}

{{- define "mailboat-relay.selectorLabels" -}}
app.kubernetes.io/name: {{ include "mailboat-relay.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Of the pod of `helm test`: it is none of the relays. */}}
{{- define "mailboat-relay.testLabels" -}}
app.kubernetes.io/name: {{ include "mailboat-relay.name" . }}-test
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: test
{{- end -}}

{{/* Of every object but pods: the chart's version would restart them with each release. */}}
{{- define "mailboat-relay.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "mailboat-relay.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: relay
app.kubernetes.io/part-of: mailboat
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The head of an object. Takes a list: the context, its name, more labels, more annotations. */}}
{{- define "mailboat-relay.metadata" -}}
{{- $root := index . 0 -}}
{{- $labels := merge (dict) (index . 2) (include "mailboat-relay.labels" $root | fromYaml) -}}
{{- $annotations := merge (dict) (index . 3) $root.Values.commonAnnotations -}}
name: {{ index . 1 }}
namespace: {{ $root.Release.Namespace }}
labels:
  {{- toYaml $labels | nindent 2 }}
{{- with $annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* An image as a container names it. Takes a list: the context, and the values of the image. */}}
{{- define "mailboat-relay.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- with default $image.registry $root.Values.global.imageRegistry }}{{ . }}/{{ end }}{{ $image.repository }}
{{- if $image.digest }}@{{ $image.digest }}
{{- else }}:{{ default $root.Chart.AppVersion $image.tag }}
{{- end -}}
{{- end -}}

{{- define "mailboat-relay.pullSecrets" -}}
{{- with concat (default (list) .Values.global.imagePullSecrets) .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
