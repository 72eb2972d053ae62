{{/*
Names and labels. Most templates of this chart take `it`, the list of the root context and a component's name:

    {{- $it := list . "search" }}
    {{ include "retrograde.name" $it }}        release-search
*/}}

{{- define "retrograde.release" -}}
{{ .Values.fullnameOverride | default .Release.Name | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "retrograde.name" -}}
{{ include "retrograde.release" (index . 0) }}-{{ index . 1 }}
{{- end }}

{{/* What never changes over upgrades. */}}
{{- define "retrograde.selector" -}}
app.kubernetes.io/name: retrograde
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "retrograde.labels" -}}
{{- $root := index . 0 -}}
{{ include "retrograde.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: retrograde
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- end }}

{{/* name, namespace and labels of an object of `it`. */}}
{{- define "retrograde.metadata" -}}
name: {{ include "retrograde.name" . }}
namespace: {{ (index . 0).Release.Namespace | quote }}
labels:
  {{- include "retrograde.labels" . | nindent 2 }}
{{- end }}

{{/* Where callers of ours find a component: a name that stands for all its pods, where there may be several that serve. */}}
{{- define "retrograde.address" -}}
{{- $root := index . 0 -}}
{{- if not (has (index . 1) (list "rollouts" "trainer")) }}dns:///{{ end -}}
{{ include "retrograde.podsName" . }}.{{ $root.Release.Namespace }}.svc:{{ $root.Values.ports.grpc }}
{{- end }}

{{/* The Service by which they do; that of inference is headless itself. */}}
{{- define "retrograde.podsName" -}}
{{ include "retrograde.name" . }}{{ if has (index . 1) (list "verifier" "search" "rewriter") }}-pods{{ end }}
{{- end }}

{{/* The certificate Secret of a component. */}}
{{- define "retrograde.tlsSecret" -}}
{{- get (index . 0).Values.tls.secretNames (index . 1) | default (printf "%s-tls" (include "retrograde.name" .)) -}}
{{- end }}
