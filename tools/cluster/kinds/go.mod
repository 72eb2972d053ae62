// Whose custom resources the chart makes: of these modules only the definitions of kinds are used, nothing is built.
module retrograde/tools/cluster/kinds

go 1.26.0

require (
	github.com/cert-manager/cert-manager v1.21.2
	github.com/kedacore/keda/v2 v2.21.0
	github.com/prometheus-operator/prometheus-operator v0.85.0
)
