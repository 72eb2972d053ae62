{{/* Workers by lag (KEDA), or by CPU where there is no KEDA (HPA). */}}

{{- define "retrograde.scaleTarget" -}}
scaleTargetRef: { apiVersion: apps/v1, kind: Deployment, name: {{ include "retrograde.name" . }} }
{{- end }}

{{/* {it, topic}: messages that the component's group has not committed, those in hand included, over messages a pod. */}}
{{- define "retrograde.scaledobject" -}}
{{- $root := index .it 0 -}}
{{- $name := index .it 1 -}}
{{- $scaling := index $root.Values.autoscaling $name -}}
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  {{- include "retrograde.metadata" .it | nindent 2 }}
spec:
  {{- include "retrograde.scaleTarget" .it | nindent 2 }}
  minReplicaCount: {{ $scaling.minReplicas }}
  maxReplicaCount: {{ $scaling.maxReplicas }}
  pollingInterval: 15
  cooldownPeriod: {{ $root.Values.autoscaling.scaleInSeconds }}
  {{- if $scaling.minReplicas }}
  fallback: { failureThreshold: 4, replicas: {{ $scaling.minReplicas }} }
  {{- end }}
  advanced:
    horizontalPodAutoscalerConfig:
      behavior:
        scaleDown: { stabilizationWindowSeconds: {{ $root.Values.autoscaling.scaleInSeconds }} }
  triggers:
    - type: kafka
      metadata:
        bootstrapServers: {{ join "," $root.Values.kafka.brokers }}
        consumerGroup: {{ $name }}.{{ .topic }}
        topic: {{ .topic }}
        lagThreshold: {{ $scaling.messagesPerReplica | quote }}
        activationLagThreshold: "0"
        offsetResetPolicy: earliest
        allowIdleConsumers: "false"
        {{- with $root.Values.kafka }}
        {{- if .sasl.enabled }}
        sasl: {{ eq .sasl.mechanism "PLAIN" | ternary "plaintext" (.sasl.mechanism | lower | replace "scram-sha-" "scram_sha") }}
        {{- end }}
        {{- if or .tls.enabled .tls.clientCertificate }}
        tls: enable
        {{- end }}
        {{- end }}
      {{- if include "retrograde.kafkaKeys" $root }}
      authenticationRef: { name: {{ include "retrograde.release" $root }}-kafka }
      {{- end }}
{{- end }}

{{- define "retrograde.hpa" -}}
{{- $root := index . 0 -}}
{{- $scaling := index $root.Values.autoscaling (index . 1) -}}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  {{- include "retrograde.metadata" . | nindent 2 }}
spec:
  {{- include "retrograde.scaleTarget" . | nindent 2 }}
  minReplicas: {{ max 1 $scaling.minReplicas }}
  maxReplicas: {{ $scaling.maxReplicas }}
  behavior:
    scaleDown: { stabilizationWindowSeconds: {{ $root.Values.autoscaling.scaleInSeconds }} }
  metrics:
    - type: Resource
      resource: { name: cpu, target: { type: Utilization, averageUtilization: {{ $scaling.cpuPercent }} } }
{{- end }}
