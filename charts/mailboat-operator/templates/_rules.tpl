{{/* What the operator may do in each namespace that it watches. */}}

{{- define "mailboat-operator.rules" -}}
- apiGroups: [mailboat.dev]
  resources: [outboundconfigs, sendingdomains]
  verbs: [get, list, watch]
- apiGroups: [mailboat.dev]
  resources: [outboundconfigs/status, sendingdomains/status]
  verbs: [patch, update]
# Owner references that block deletion ask for it where OwnerReferencesPermissionEnforcement is on.
- apiGroups: [mailboat.dev]
  resources: [outboundconfigs/finalizers, sendingdomains/finalizers]
  verbs: [update]
# Sources and children. Server-side apply of a missing object is a patch and a create.
- apiGroups: [""]
  resources: [configmaps, secrets]
  verbs: [get, list, watch, create, patch, delete]
# Whom to ask which configuration runs.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
# `reload: Restart` stamps the pod template.
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [get, list, watch, patch]
- apiGroups: [""]
  resources: [events]
  verbs: [create, patch]
{{- if .Values.rbac.dnsEndpoints }}
- apiGroups: [externaldns.k8s.io]
  resources: [dnsendpoints]
  verbs: [get, list, watch, create, patch, delete]
{{- end }}
{{- end -}}
