{{/* The validating resolver in each pod. Only the pod itself reaches it, on loopback, so that its AD bit can be trusted. */}}

{{/* Above 1024, and not 5353, which mDNS may have on a node whose network the pod uses. */}}
{{- define "mailboat-relay.resolverPort" -}}5335{{- end -}}

{{/* A sidecar of Kubernetes: it is there before the relay starts, and still there while the relay drains. */}}
{{- define "mailboat-relay.resolver" -}}
- name: resolver
  image: {{ include "mailboat-relay.image" (list . .Values.resolver.image) }}
  imagePullPolicy: {{ .Values.resolver.image.pullPolicy }}
  restartPolicy: Always
  {{- range $probe := list "startupProbe" "livenessProbe" }}
  {{ $probe }}:
    exec:
      command: [unbound-control, status]
    {{- toYaml (index $.Values.resolver $probe) | nindent 4 }}
  {{- end }}
  resources:
    {{- toYaml .Values.resolver.resources | nindent 4 }}
  securityContext:
    {{- toYaml .Values.securityContext | nindent 4 }}
  volumeMounts:
    - {name: resolver-config, mountPath: /etc/unbound, readOnly: true}
    - {name: resolver, mountPath: /var/lib/unbound}
{{- end -}}

{{- define "mailboat-relay.resolverVolumes" -}}
- name: resolver-config
  configMap:
    name: {{ include "mailboat-relay.fullname" . }}-resolver
- name: resolver
  emptyDir:
    sizeLimit: 16Mi
{{- end -}}

{{/* unbound.conf(5). The image's start.py writes cluster.conf, and puts root.key there. */}}
{{- define "mailboat-relay.unbound" -}}
server:
  interface: 127.0.0.1@{{ include "mailboat-relay.resolverPort" . }}
  username: ""
  chroot: ""
  directory: ""
  pidfile: ""
  use-syslog: no
  module-config: "validator iterator"
  auto-trust-anchor-file: /var/lib/unbound/root.key
  # Which answer is bogus, and why.
  val-log-level: 2
  hide-identity: yes
  hide-version: yes
  # As the relay does: such an answer fits an IPv6 packet that is never fragmented (RFC 9715).
  edns-buffer-size: 1232
  # The caches, which take about twice as much, stay below the memory limit.
  msg-cache-size: 8m
  rrset-cache-size: 16m
remote-control:
  control-enable: yes
  control-interface: /var/lib/unbound/control
  control-use-cert: no
include: /var/lib/unbound/cluster.conf
{{- with .Values.resolver.forwarders }}
forward-zone:
  name: "."
  {{- range . }}
  forward-addr: {{ . }}
  {{- end }}
{{- end }}
{{- with .Values.resolver.extraConfig }}
{{ . }}
{{- end }}
{{- end -}}
