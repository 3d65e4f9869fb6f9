{{/* The configuration directory: the chart's own files, and the volume that joins them with those of the operator. */}}

{{/* A value of an ini file. Numbers of a values file are floats, which would be printed as 2.62144e+07. */}}
{{- define "mailboat-relay.iniValue" -}}
{{- if and (kindIs "float64" .) (eq . (float64 (int64 .))) }}{{ int64 . }}{{ else }}{{ . }}{{ end -}}
{{- end -}}

{{/* `listen` for some ports. Takes a list: the context, and the ports. */}}
{{- define "mailboat-relay.endpoints" -}}
{{- $endpoints := list -}}
{{- range $port := rest . -}}
{{- range (first $).Values.listen.addresses -}}
{{- $endpoints = append $endpoints (printf "%s:%d" (ternary (printf "[%s]" .) . (contains ":" .)) $port) -}}
{{- end -}}
{{- end -}}
{{- join ", " $endpoints -}}
{{- end -}}

{{/* What makes a difference only for a pod that starts: a change of it replaces the pods. All else is reloaded live. */}}
{{- define "mailboat-relay.restart" -}}
{{- dict "listen" .Values.listen "submission" 2587 "smtps" .Values.smtps.enabled "nodes" (.Values.config.smtp.nodes | toString) "host" .Values.hostNetwork "reads" .Values.admin.readWithoutToken | toJson -}}
{{- end -}}

{{/* Sources of the projected volume; of two files with one name the later source's is seen. */}}
{{- define "mailboat-relay.configSources" -}}
{{- $name := include "mailboat-relay.fullname" . -}}
{{- $outbound := include "mailboat-relay.outboundConfig" . -}}
- configMap:
    name: {{ $name }}-config
{{- $plugins := list }}
{{- range $file, $_ := .Values.config.files }}{{ if hasPrefix "plugins.d/" $file }}{{ $plugins = append $plugins $file }}{{ end }}{{ end }}
{{- with $plugins }}
- configMap:
    name: {{ $name }}-plugins
    items:
      {{- range . }}
      - key: {{ trimPrefix "plugins.d/" . }}
        path: {{ . }}
      {{- end }}
{{- end }}
{{- with .Values.tls.secretName }}
- secret:
    name: {{ . }}
    items:
      - key: tls.crt
        path: tls_cert.pem
      - key: tls.key
        path: tls_key.pem
{{- end }}
{{- with .Values.admin.tokenSecret }}
- secret:
    name: {{ . }}
    items:
      - key: {{ $.Values.admin.tokenKey }}
        path: admin-token
{{- end }}
{{- include "mailboat-relay.existingSources" (list . false) }}
- configMap:
    name: {{ $outbound }}-outbound
    optional: true
- configMap:
    name: {{ $outbound }}-tls
    optional: true
- secret:
    name: {{ $outbound }}-credentials
    optional: true
{{- end -}}

{{/*
Sources of the volume at `dkim/`. A source cannot place all keys of a Secret in a folder, so the folder is a volume of its own. The
operator spreads keys over eight Secrets, because a pod cannot mount what did not exist when it started under another name.
*/}}
{{- define "mailboat-relay.dkimSources" -}}
{{- include "mailboat-relay.existingSources" (list . true) }}
{{- $outbound := include "mailboat-relay.outboundConfig" . }}
{{- range until 8 }}
- secret:
    name: {{ $outbound }}-dkim-{{ . }}
    optional: true
{{- end }}
{{- end -}}

{{/* Files of the values' ConfigMaps and Secrets. Takes a list: the context, and whether those of `dkim/` or the others are wanted. */}}
{{- define "mailboat-relay.existingSources" -}}
{{- $dkim := index . 1 -}}
{{- range $kind, $sources := dict "configMap" (first .).Values.config.existingConfigMaps "secret" (first .).Values.config.existingSecrets }}
{{- range $source := $sources }}
{{- $items := list }}
{{- range .items }}
{{- if eq $dkim (hasPrefix "dkim/" (clean .path)) }}
{{- $items = append $items (ternary (set (deepCopy .) "path" (trimPrefix "dkim/" (clean .path))) . $dkim) }}
{{- end }}
{{- end }}
{{- with $items }}
- {{ $kind }}:
    {{- toYaml (set (deepCopy $source) "items" .) | nindent 4 }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Secrets that the operator uses only with their owners' leave: those of the values' OutboundConfig, and the token. */}}
{{- define "mailboat-relay.labelledSecrets" -}}
{{- $names := list .Values.admin.tokenSecret -}}
{{- if .Values.outboundConfig.create -}}
  {{- range .Values.outboundConfig.spec.routes -}}
    {{- $names = append $names (dig "authSecretRef" "name" "" .) -}}
    {{- $names = append $names (dig "oauth" "clientSecretRef" "name" "" .) -}}
    {{- $names = append $names (dig "oauth" "refreshTokenRef" "name" "" .) -}}
  {{- end -}}
{{- end -}}
{{- without $names "" | uniq | sortAlpha | join " " -}}
{{- end -}}
