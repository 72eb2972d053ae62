// What KEDA's Kafka scaler answers about the trigger on standard input, as JSON on standard output.
package main

import (
	"context"
	"encoding/json"
	"log"
	"os"

	"github.com/kedacore/keda/v2/pkg/scalers"
	"github.com/kedacore/keda/v2/pkg/scalers/scalersconfig"
)

type trigger struct {
	Metadata map[string]string `json:"metadata"`
	Secrets  map[string]string `json:"secrets"`
}

type answer struct {
	Lag       int64 `json:"lag"`
	IsActive  bool  `json:"is_active"`
	LagOfAPod int64 `json:"lag_of_a_pod"`
}

func main() {
	asked, ctx := trigger{}, context.Background()
	must(json.NewDecoder(os.Stdin).Decode(&asked))
	config := scalersconfig.ScalerConfig{TriggerMetadata: asked.Metadata, AuthParams: asked.Secrets}
	scaler, err := scalers.NewKafkaScaler(ctx, &config)
	must(err)
	values, isActive, err := scaler.GetMetricsAndActivity(ctx, "lag")
	must(err)
	target := scaler.GetMetricSpecForScaling(ctx)[0].External.Target
	must(json.NewEncoder(os.Stdout).Encode(answer{values[0].Value.Value(), isActive, target.AverageValue.Value()}))
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
