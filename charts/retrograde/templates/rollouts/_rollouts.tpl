{{/* The rollouts service: feeds of graded samples. One process serves a feed, so there is one. */}}
{{- define "retrograde.rollouts.settings" -}}
store: {{ include "retrograde.s3Url" . }}
inference: {{ include "retrograde.address" (list . "inference") }}
verifier: {{ include "retrograde.address" (list . "verifier") }}
{{- include "retrograde.tokenSettings" (list . "rollouts") }}
{{- include "retrograde.tracingSettings" . }}
{{- end }}
