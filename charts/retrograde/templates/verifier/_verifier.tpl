{{/* The verifier reads untrusted text: it needs no peer, no broker, no store and no collector, and can reach none. */}}
{{- define "retrograde.verifier.settings" -}}
{}
{{- end }}
