{{/* What values.schema.json cannot say: combinations that would make an open relay, lose mail, or never start. */}}

{{- define "mailboat-relay.validate" -}}
{{- include "mailboat-relay.validateAcl" . -}}
{{- include "mailboat-relay.validateFiles" . -}}
{{- include "mailboat-relay.validatePods" . -}}
{{- end -}}

{{/*
At most 128 networks (the schema says so) of at least /8 are under 60 % of the public IPv4 addresses. IPv6: 64 networks wider than /20
are half of what the registries have. The relay refuses 75 %.
*/}}
{{- define "mailboat-relay.validateAcl" -}}
{{- $wide := 0 -}}
{{- range .Values.config.relayAllow -}}
  {{- if regexMatch "(?i)^[0:]*:ffff:" . -}}
    {{- fail (printf "config.relayAllow: %s is an IPv4-mapped IPv6 network; write it as IPv4" .) -}}
  {{- end -}}
  {{- $prefix := splitList "/" . -}}
  {{- if eq (len $prefix) 2 -}}
    {{- $least := ternary 16 8 (contains ":" .) -}}
    {{- $most := ternary 128 32 (contains ":" .) -}}
    {{- if or (lt (int (last $prefix)) $least) (gt (int (last $prefix)) $most) -}}
      {{- fail (printf "config.relayAllow: %s: a prefix length is from %d to %d; a wider network makes an open relay" . $least $most) -}}
    {{- end -}}
    {{- if and (regexMatch "^[23]" .) (contains ":" .) (lt (int (last $prefix)) 20) -}}
      {{- $wide = add1 $wide -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- if gt (int $wide) 64 -}}
  {{- fail (printf "config.relayAllow: %d public IPv6 networks are wider than /20; more than 64 make an open relay" (int $wide)) -}}
{{- end -}}
{{- if and .Values.config.relayAllow (ne .Values.service.type "ClusterIP") (ne .Values.service.externalTrafficPolicy "Local") -}}
  {{- fail (printf "service.externalTrafficPolicy must be Local with a Service of type %s and config.relayAllow: otherwise every client on the Internet looks like a node of the cluster, and may relay" .Values.service.type) -}}
{{- end -}}
{{- end -}}

{{- define "mailboat-relay.validateFiles" -}}
{{- $own := list "smtp.ini" "http.ini" "relay_acl_allow" "senders_allow" "plugins" "me" "admin-token" -}}
{{- range $name, $_ := .Values.config.files -}}
  {{- if has $name $own -}}
    {{- fail (printf "config.files: %s is written by the chart from other values" $name) -}}
  {{- end -}}
  {{- include "mailboat-relay.validateHashed" (list $ "config.files" $name) -}}
{{- end -}}
{{- range concat .Values.config.existingSecrets .Values.config.existingConfigMaps -}}
  {{- $source := .name -}}
  {{- range .items -}}
    {{- if has (clean .path) $own -}}
      {{- fail (printf "%s: %s is written by the chart from other values" $source .path) -}}
    {{- end -}}
    {{- include "mailboat-relay.validateHashed" (list $ $source (clean .path)) -}}
  {{- end -}}
{{- end -}}
{{- $plugins := list -}}
{{- range .Values.config.plugins -}}
  {{- $plugins = append $plugins (replace "/" "_" .) -}}
{{- end -}}
{{- if ne (len $plugins) (len (uniq $plugins)) -}}
  {{- fail "config.plugins: a plugin is listed twice; `a/b` and `a_b` are the same one" -}}
{{- end -}}
{{- if and .Values.smtps.enabled (not .Values.tls.secretName) -}}
  {{- fail "smtps.enabled needs tls.secretName: without a certificate the relay does not start" -}}
{{- end -}}
{{- end -}}

{{/* The hash that pods report is of these files too, so the operator must know them. Takes a list: the context, where, and a file's name. */}}
{{- define "mailboat-relay.validateHashed" -}}
{{- $field := get (dict "tenants.ini" "tenants" "tlsrpt.ini" "tlsReports" "shaping.ini" "shaping") (index . 2) -}}
{{- if and (index . 0).Values.outboundConfig.create $field -}}
  {{- fail (printf "%s: %s: give outboundConfig.spec.%s instead; pods would never report the configuration that the OutboundConfig describes" (index . 1) (index . 2) $field) -}}
{{- end -}}
{{- end -}}

{{- define "mailboat-relay.validatePods" -}}
{{- $grace := int .Values.terminationGracePeriodSeconds -}}
{{- $least := add .Values.drainTimeoutSeconds .Values.preStopSleepSeconds 5 -}}
{{- if and $grace (lt $grace (int $least)) -}}
  {{- fail (printf "terminationGracePeriodSeconds must be at least %d: the sleep, the drain time and 5 more; otherwise pods are killed while they deliver" $least) -}}
{{- end -}}
{{- $budget := .Values.podDisruptionBudget -}}
{{- if and $budget.enabled (eq (toString $budget.maxUnavailable) "") (eq (toString $budget.minAvailable) "") -}}
  {{- fail "podDisruptionBudget: give maxUnavailable or minAvailable" -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (lt (int .Values.autoscaling.maxReplicas) (int .Values.autoscaling.minReplicas)) -}}
  {{- fail "autoscaling.maxReplicas is below minReplicas" -}}
{{- end -}}
{{- end -}}
