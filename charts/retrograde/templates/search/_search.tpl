{{/* The search service: problems to trees, as many pods as there is work. */}}
{{- define "retrograde.search.settings" -}}
broker: {{ include "retrograde.kafkaUrl" . }}
store: {{ include "retrograde.s3Url" . }}
inference: {{ include "retrograde.address" (list . "inference") }}
verifier: {{ include "retrograde.address" (list . "verifier") }}
{{- include "retrograde.tracingSettings" . }}
{{- end }}
