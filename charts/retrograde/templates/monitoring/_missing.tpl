{{/* An alert for each component of which values want pods: `up == 0` needs a target, and a pod that waits for a node is none. */}}

{{- define "retrograde.missingRules" -}}
{{- range list "inference" "verifier" "search" "rewriter" "rollouts" "trainer" }}
{{- if include "retrograde.leastReplicas" (list $ . ) }}
- alert: RetrogradeComponentMissing
  expr: absent_over_time(up{job="retrograde", namespace="{{ $.Release.Namespace }}", component="{{ . }}"}[10m])
  for: 5m
  labels: { severity: critical }
  annotations:
    summary: Nothing of {{ . }} gives metrics
    description: It has no pod with an address. See the pods' events (quota, taints, an image), and whether its Service selects one.
{{- end }}
{{- end }}
{{- end }}

{{/* How many pods of a component there are at any time; nothing where there may be none. */}}
{{- define "retrograde.leastReplicas" -}}
{{- $values := (index . 0).Values -}}
{{- $own := index $values (index . 1) -}}
{{- $scaling := get $values.autoscaling (index . 1) -}}
{{- $least := $own.replicas | int -}}
{{- if and (kindIs "map" $scaling) (ne $values.autoscaling.mode "none") }}{{ $least = $scaling.minReplicas | int }}{{ end -}}
{{- if and (kindIs "map" $scaling) (eq $values.autoscaling.mode "hpa") }}{{ $least = max 1 $least }}{{ end -}}
{{- if and $own.enabled $least }}{{ $least }}{{ end -}}
{{- end }}
