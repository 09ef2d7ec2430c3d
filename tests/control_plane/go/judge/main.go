// The judge: what Prometheus' own discovery and relabelling make of the same scrape configs and API server.
//
// Usage: judge CONFIG SECONDS. CONFIG holds `scrape_configs`, of which the kubernetes_sd_configs and relabel_configs are
// read. After SECONDS it prints one JSON object: job name to a list of {"discovered": {...}, "labels": {...} or null}.
//
// Usage: judge rules FILE. Whether Prometheus takes a file of alert rules.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/common/promslog"
	"github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/discovery/kubernetes"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v2"
)

type job struct {
	Name    string                 `yaml:"job_name"`
	Configs []*kubernetes.SDConfig `yaml:"kubernetes_sd_configs"`
	Relabel []*relabel.Config      `yaml:"relabel_configs"`
	// What else a job may hold is not looked at.
	Rest map[string]any `yaml:",inline"`
}

type target struct {
	Discovered map[string]string `json:"discovered"`
	Labels     map[string]string `json:"labels"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) != 3 {
		return fmt.Errorf("usage: judge CONFIG SECONDS, or judge rules FILE")
	}
	if os.Args[1] == "rules" {
		logger := promslog.New(&promslog.Config{Writer: os.Stderr, Level: level()})
		_, failed := rulefmt.ParseFile(os.Args[2], false, model.UTF8Validation, parser.NewParser(parser.Options{}), logger)
		return errors.Join(failed...)
	}
	text, err := os.ReadFile(os.Args[1])
	if err != nil {
		return err
	}
	seconds, err := strconv.ParseFloat(os.Args[2], 64)
	if err != nil {
		return err
	}
	var file struct {
		Jobs []*job         `yaml:"scrape_configs"`
		Rest map[string]any `yaml:",inline"`
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(seconds*float64(time.Second)))
	defer cancel()
	found := map[string][]target{}
	failed := make([]error, len(file.Jobs))
	var lock sync.Mutex
	var jobs sync.WaitGroup
	for i, j := range file.Jobs {
		for _, rule := range j.Relabel {
			// What Prometheus 3 does unless told otherwise.
			if err := rule.Validate(model.UTF8Validation); err != nil {
				return err
			}
		}
		jobs.Go(func() {
			targets, err := j.targets(ctx)
			lock.Lock()
			defer lock.Unlock()
			found[j.Name], failed[i] = targets, err
		})
	}
	jobs.Wait()
	if err := errors.Join(failed...); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(found)
}

// targets waits until the context ends, and gives what was found last.
func (j *job) targets(ctx context.Context) ([]target, error) {
	logger := promslog.New(&promslog.Config{Writer: os.Stderr, Level: level()})
	groups := map[string]*targetgroup.Group{}
	var lock sync.Mutex
	var readers sync.WaitGroup
	for i, config := range j.Configs {
		registry := prometheus.NewRegistry()
		metrics := config.NewDiscovererMetrics(registry, discovery.NewRefreshMetrics(registry))
		if err := metrics.Register(); err != nil {
			return nil, err
		}
		discoverer, err := kubernetes.New(logger, metrics, config)
		if err != nil {
			return nil, err
		}
		channel := make(chan []*targetgroup.Group)
		go discoverer.Run(ctx, channel)
		readers.Add(1)
		go func() {
			defer readers.Done()
			for {
				select {
				case <-ctx.Done():
					return
				case changed := <-channel:
					lock.Lock()
					for _, group := range changed {
						groups[fmt.Sprint(i, "/", group.Source)] = group
					}
					lock.Unlock()
				}
			}
		}()
	}
	readers.Wait()
	lock.Lock()
	defer lock.Unlock()
	all := []target{}
	for _, group := range groups {
		for _, found := range group.Targets {
			builder := labels.NewBuilder(labels.EmptyLabels())
			for name, value := range group.Labels {
				builder.Set(string(name), string(value))
			}
			for name, value := range found {
				builder.Set(string(name), string(value))
			}
			one := target{Discovered: builder.Labels().Map()}
			builder.Set("job", j.Name)
			if relabel.ProcessBuilder(builder, j.Relabel...) {
				one.Labels = builder.Labels().Map()
			}
			all = append(all, one)
		}
	}
	return all, nil
}

func level() *promslog.Level {
	level := promslog.NewLevel()
	_ = level.Set("warn")
	return level
}
