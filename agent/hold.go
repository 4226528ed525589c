package main

import (
	"context"
	"flag"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// defaultHold is how long the collector keeps the volume when nobody comes.
const defaultHold = 6 * time.Hour

// hold is process 1 of the collector's container: it keeps the pod, and with it
// the volume, until release was called, the time is over, or the pod is deleted.
// All three are good ends. It reaps what exec sessions leave behind.
func hold(args []string) int {
	flags := flag.NewFlagSet("hold", flag.ContinueOnError)
	longest := flags.Duration("max", defaultHold, "longest time to hold")
	if err := flags.Parse(args); err != nil || flags.NArg() > 0 {
		return exitUsage
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	released := appears(ctx, sharedLayout().release())
	over := time.After(*longest)
	reaper := &supervisor{}
	for {
		select {
		case <-released:
			return exitOK
		case <-over:
			return exitOK
		case <-signals:
			return exitOK
		case <-children:
			reaper.reap(0)
		}
	}
}
