// Command plimsoll tells what is inside container images.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/plimsoll/plimsoll"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := make(chan int, 1)
	go func() { status <- run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr) }()
	select {
	case s := <-status:
		os.Exit(s)
	case <-ctx.Done():
	}
	stop() // a second signal ends the program at once
	select {
	case s := <-status:
		os.Exit(s)
	case <-time.After(patience):
		// Nothing ends the reading of a pipe whose writer is silent.
		fmt.Fprintln(os.Stderr, "plimsoll: interrupted")
		os.Exit(exitError)
	}
}

// patience is how long an interrupted command may take to clean up.
const patience = 2 * time.Second

// Exit statuses; every command's help documents those it uses.
const (
	exitClean    = 0 // done, and nothing to report
	exitError    = 1 // not done
	exitUsage    = 2 // the command line is wrong
	exitFindings = 3 // done, and vulnerabilities were found
	exitGaps     = 4 // done, nothing found, but not everything could be assessed
)

// exitStatus ends a command that is done with a status other than 0.
type exitStatus int

func (s exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// usageError is a command line that cannot be meant.
type usageError struct{ error }

// run is the whole program; tests call it in place of main.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	var status exitStatus
	var usage usageError
	switch {
	case err == nil:
		return exitClean
	case errors.As(err, &status):
		return int(status)
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		fmt.Fprintln(stderr, "plimsoll: interrupted")
		return exitError
	case errors.Is(err, syscall.EPIPE):
		return exitError // the reader of our output has gone, and knows
	}
	fmt.Fprintln(stderr, "plimsoll:", err)
	if hint := plimsoll.HintOf(err); hint != "" {
		fmt.Fprintln(stderr, "hint:", hint)
	}
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitError
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "plimsoll",
		Short: "Know what is inside your container images",
		Long: `Plimsoll takes container images apart into layers and components, writes a bill
of materials that says where each component came from, and lists the known
vulnerabilities in them.

A first run without any image at hand:

  plimsoll demo`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		DisableAutoGenTag: true,
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return plimsoll.WithHint(usageError{err}, c.CommandPath()+" --help lists the flags")
	})
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveDefault)
	group(root)
	root.AddCommand(newScan(), newBOM(), newDB(), newCache(), newDemo(), newMan(), newVersion())
	return root
}

// group makes c a command that only has others below it: alone it prints its
// help, and a name that is none of theirs is a usage error.
func group(c *cobra.Command) {
	c.SuggestionsMinimumDistance = 2
	c.Args = func(c *cobra.Command, list []string) error {
		if len(list) == 0 {
			return nil
		}
		hint := c.CommandPath() + " --help lists the commands"
		if near := c.SuggestionsFor(list[0]); len(near) > 0 {
			hint = "did you mean " + c.CommandPath() + " " + near[0] + "?"
		}
		return plimsoll.WithHint(usageError{fmt.Errorf("unknown command %q for %q", list[0], c.CommandPath())}, hint)
	}
	c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
}

// args makes the mistakes in a command's arguments usage errors.
func args(check cobra.PositionalArgs, hint string) cobra.PositionalArgs {
	return func(c *cobra.Command, list []string) error {
		if err := check(c, list); err != nil {
			return plimsoll.WithHint(usageError{err}, hint)
		}
		return nil
	}
}
