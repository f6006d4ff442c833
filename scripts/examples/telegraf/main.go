// Telegraf as far as the example needs it: its configuration, its agent, one input and one output. Gathers once.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/influxdata/telegraf/agent"
	"github.com/influxdata/telegraf/config"
	_ "github.com/influxdata/telegraf/plugins/inputs/prometheus"
	_ "github.com/influxdata/telegraf/plugins/outputs/file"
	_ "github.com/influxdata/telegraf/plugins/parsers/prometheus"
	_ "github.com/influxdata/telegraf/plugins/serializers/influx"
)

func main() {
	if err := once(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func once(path string) error {
	configuration := config.NewConfig()
	if err := configuration.LoadAll(path); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return agent.NewAgent(configuration).Once(ctx, 0)
}
