{{/*
Who may talk to whom. Templates/networkpolicy.yaml denies everything; each component's own policy allows what it needs:

    {it, from, to}    `from` components that call it, "clients", "itself"; `to` components and kafka, s3, apiserver

The kubelet's probes come from the node and need no rule.
*/}}

{{- define "retrograde.networkpolicy" -}}
{{- $root := index .it 0 -}}
{{- $own := index $root.Values (index .it 1) -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  {{- include "retrograde.metadata" .it | nindent 2 }}
spec:
  podSelector:
    matchLabels:
      {{- include "retrograde.selector" .it | nindent 6 }}
  policyTypes: [Ingress, Egress]
  ingress: {{- include "retrograde.rules" (list (include "retrograde.ingress" .) $own.extraIngress) | indent 4 }}
  egress: {{- include "retrograde.rules" (list (include "retrograde.egress" .) $own.extraEgress) | indent 4 }}
{{- end }}

{{/* The chart's rules, and the values' own after them; [] when there are none. */}}
{{- define "retrograde.rules" -}}
{{- $own := index . 1 | empty | ternary "" (index . 1 | toYaml) -}}
{{- $rules := compact (list (index . 0 | trim) $own) | join "\n" -}}
{{ if $rules }}{{ printf "\n%s" $rules }}{{ else }} []{{ end }}
{{- end }}

{{- define "retrograde.peer" -}}
podSelector:
  matchLabels:
    {{- include "retrograde.selector" . | nindent 4 }}
{{- end }}

{{- define "retrograde.ingress" -}}
{{- $root := index .it 0 -}}
{{- $ports := $root.Values.ports -}}
{{- $policy := $root.Values.networkPolicy -}}
{{- if without .from "itself" }}
- from:
    {{- range without .from "clients" "itself" }}
    - {{- include "retrograde.peer" (list $root .) | nindent 6 }}
    {{- end }}
    {{- if has "clients" .from }}
    - podSelector: { matchLabels: { retrograde.dev/client: "true" } }
    {{- with $policy.clients }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    {{- end }}
  ports:
    - { port: {{ $ports.grpc }}, protocol: TCP }
    {{- if include "retrograde.isPublic" .it }}
    - { port: {{ $ports.public }}, protocol: TCP }
    {{- end }}
    {{- range .openPorts }}
    - { port: {{ . }}, protocol: TCP }
    {{- end }}
{{- end }}
{{- if has "itself" .from }}
- from:
    - {{- include "retrograde.peer" .it | nindent 6 }}
{{- end }}
{{- if not (has (index .it 1) (list "job" "test")) }}
- from:
    {{- toYaml $policy.monitoring | nindent 4 }}
  ports:
    - { port: {{ $ports.metrics }}, protocol: TCP }
{{- end }}
{{- end }}

{{- define "retrograde.egress" -}}
{{- $root := index .it 0 -}}
{{- $values := $root.Values -}}
{{- $policy := $values.networkPolicy -}}
{{- $it := .it -}}
{{- if .to }}
- to:
    {{- toYaml $policy.dns | nindent 4 }}
  ports:
    {{- range $policy.ports.dns }}
    - { port: {{ . }}, protocol: UDP }
    - { port: {{ . }}, protocol: TCP }
    {{- end }}
{{- end }}
{{- with without .to "kafka" "s3" "apiserver" "itself" }}
- to:
    {{- range . }}
    - {{- include "retrograde.peer" (list $root .) | nindent 6 }}
    {{- end }}
  ports:
    - { port: {{ $values.ports.grpc }}, protocol: TCP }
{{- end }}
{{- if has "itself" .to }}
- to:
    - {{- include "retrograde.peer" .it | nindent 6 }}
{{- end }}
{{- if has "kafka" .to }}
{{ include "retrograde.outside" (dict "peers" $policy.kafka "addresses" $values.kafka.brokers "ports" $policy.ports.kafka) }}
{{- end }}
{{- if has "s3" .to }}
{{ include "retrograde.outside" (dict "peers" $policy.s3 "addresses" (list $values.s3.endpoint) "ports" $policy.ports.s3) }}
{{- end }}
{{- if and .to $values.tracing.endpoint }}
{{ include "retrograde.outside" (dict "peers" $policy.tracing "addresses" (list $values.tracing.endpoint) "ports" $policy.ports.tracing) }}
{{- end }}
{{- if has "apiserver" .to }}
{{ include "retrograde.outside" (dict "peers" $policy.apiServer "addresses" list "ports" $policy.ports.apiServer) }}
{{- end }}
{{- end }}

{{/* {peers, addresses, ports}: the ports of `addresses` and `ports`, at `peers` or, where there are none, anywhere. */}}
{{- define "retrograde.outside" -}}
- ports:
    {{- $ports := list }}
    {{- range .addresses }}{{ $ports = append $ports (regexFind "[0-9]+$" (trimSuffix "/" .)) }}{{ end }}
    {{- range .ports }}{{ $ports = append $ports (toString .) }}{{ end }}
    {{- range uniq $ports }}
    - { port: {{ . }}, protocol: TCP }
    {{- end }}
  {{- with .peers }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
