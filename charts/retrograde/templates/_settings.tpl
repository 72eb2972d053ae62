{{/*
A service's settings file: what the chart knows (below, and in templates/<service>/configmap.yaml), then the keys of
<service>.config over it. The service checks the whole and refuses what it does not know.
*/}}

{{- define "retrograde.kafkaUrl" -}}
{{- $kafka := .Values.kafka -}}
{{- $query := list -}}
{{- if $kafka.tls.enabled }}{{ $query = append $query "ca_file=/etc/retrograde/kafka/ca.crt" }}{{ end -}}
{{- if $kafka.tls.clientCertificate -}}
{{- $query = concat $query (list "cert_file=/etc/retrograde/kafka/tls.crt" "key_file=/etc/retrograde/kafka/tls.key") -}}
{{- end -}}
{{- if $kafka.sasl.enabled -}}
{{- $files := list "username_file=/etc/retrograde/kafka/username" "password_file=/etc/retrograde/kafka/password" -}}
{{- $query = concat $query $files (list (printf "mechanism=%s" $kafka.sasl.mechanism)) -}}
{{- end -}}
{{- range $name, $value := $kafka.parameters }}{{ $query = append $query (printf "%s=%v" $name $value) }}{{ end -}}
kafka://{{ join "," $kafka.brokers }}{{ if $query }}?{{ join "&" $query }}{{ end }}
{{- end }}

{{- define "retrograde.s3Url" -}}
{{- $s3 := .Values.s3 -}}
s3://{{ $s3.bucket }}{{ with $s3.prefix }}/{{ . }}{{ end }}?endpoint={{ $s3.endpoint -}}
&{{ if eq $s3.identity "account" }}identity=account
{{- else }}access_key_file=/etc/retrograde/s3/access_key&secret_key_file=/etc/retrograde/s3/secret_key{{ end -}}
&region={{ $s3.region -}}
{{ if $s3.ca }}&ca_file=/etc/retrograde/s3/ca.crt{{ end }}
{{- end }}

{{/* Paths of the component's own certificate, in the file of its settings. */}}
{{- define "retrograde.tlsPaths" -}}
tls:
  certificate: /etc/retrograde/tls/tls.crt
  key: /etc/retrograde/tls/tls.key
  authority: /etc/retrograde/tls/ca.crt
{{- end }}

{{- define "retrograde.commonSettings" -}}
{{- $root := index . 0 -}}
{{- $values := index $root.Values (index . 1) -}}
listen: 0.0.0.0:{{ $root.Values.ports.grpc }}
health_port: {{ $root.Values.ports.health }}
metrics_port: {{ $root.Values.ports.metrics }}
drain_seconds: {{ $values.drainSeconds }}
log_level: {{ $root.Values.logLevel }}
{{- if $root.Values.tls.enabled }}
{{ include "retrograde.tlsPaths" . }}
{{- end }}
{{- end }}

{{/* Whether a component has a door for callers without certificates, who send a token. */}}
{{- define "retrograde.isPublic" -}}
{{- if and (index . 0).Values.tokens.secretName (has (index . 1) (list "rollouts" "trainer")) }}true{{ end -}}
{{- end }}

{{/* Whether a component has a door that a token opens: the public ones, and the OpenAI API where it has a port. */}}
{{- define "retrograde.takesTokens" -}}
{{- $values := (index . 0).Values -}}
{{- $hasApi := and $values.tokens.secretName (eq (index . 1) "inference") $values.inference.config.openai_port -}}
{{- if or $hasApi (include "retrograde.isPublic" .) }}true{{ end -}}
{{- end }}

{{/* The file of tokens of a component that takes some. */}}
{{- define "retrograde.tokenSettings" -}}
{{- $root := index . 0 -}}
{{- if include "retrograde.takesTokens" . }}
{{- if not $root.Values.tls.enabled }}
{{- fail "tokens.secretName: tokens do not travel in plaintext; set tls.enabled, or take the name out" }}
{{- end }}
tokens: /etc/retrograde/tokens/tokens.yaml
{{- if include "retrograde.isPublic" . }}
public_port: {{ $root.Values.ports.public }}
{{- end }}
{{- end }}
{{- end }}

{{/* Spans go out; the verifier, which may send nothing anywhere, is told of no collector. */}}
{{- define "retrograde.tracingSettings" -}}
{{- with .Values.tracing.endpoint }}
tracing:
  endpoint: {{ . }}
  sample_ratio: {{ $.Values.tracing.sampleRatio }}
{{- end }}
{{- end }}

{{/* {it, own}: the whole file, with the service's own keys `own` as YAML. */}}
{{- define "retrograde.settings" -}}
{{- $root := index .it 0 -}}
{{- $name := index .it 1 -}}
{{- $config := (index $root.Values $name).config -}}
{{- $common := include "retrograde.commonSettings" .it | fromYaml -}}
{{- range $key, $_ := $common -}}
{{- if and (hasKey $config $key) (ne $key "log_level") -}}
{{- fail (printf "%s.config.%s: the chart sets this key itself; take it out (ports, tls and %s.drainSeconds are the values to change)" $name $key $name) -}}
{{- end -}}
{{- end -}}
{{- mergeOverwrite $common (fromYaml .own) (deepCopy $config) | toYaml -}}
{{- end }}

{{/* {it, own, files}: the ConfigMap; `files` are further entries, as YAML. */}}
{{- define "retrograde.configmap" -}}
apiVersion: v1
kind: ConfigMap
metadata:
  {{- include "retrograde.metadata" .it | nindent 2 }}
data:
  config.yaml: |
    {{- include "retrograde.settings" . | nindent 4 }}
{{- with .files }}
{{ . | indent 2 }}
{{- end }}
{{- end }}
