{{/* The rewriter service: trees to solutions, as many pods as there is work. */}}
{{- define "retrograde.rewriter.settings" -}}
broker: {{ include "retrograde.kafkaUrl" . }}
store: {{ include "retrograde.s3Url" . }}
inference: {{ include "retrograde.address" (list . "inference") }}
verifier: {{ include "retrograde.address" (list . "verifier") }}
{{- include "retrograde.tracingSettings" . }}
{{- end }}
