// Command reference writes the settings reference into README.md, from the
// repository's root:
//
//	go run ./.ci/reference          write it
//	go run ./.ci/reference -check   exit with 1 when it is not what would be written
//
// A setting's meaning is its comment in the proto files, which only their source
// holds; all else is what the loader goes by. Reading order: schema.go, page.go,
// readme.go.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, ".", os.Args[1:], os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "reference:", err)
		os.Exit(1)
	}
}

// run writes or checks the README of the repository at root. What a program that
// it starts has to say goes to messages.
func run(ctx context.Context, root string, args []string, messages io.Writer) error {
	flags := flag.NewFlagSet("reference", flag.ContinueOnError)
	flags.SetOutput(messages)
	check := flags.Bool("check", false, "compare without writing")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unknown argument %q: it takes -check or nothing", flags.Arg(0))
	}

	schema, err := readSchema(ctx, root, messages)
	if err != nil {
		return err
	}
	sections, err := sectionsOf(schema)
	if err != nil {
		return err
	}
	path := filepath.Join(root, "README.md")
	have, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	want, err := replace(string(have), page(sections))
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", path, err)
	case string(have) == want:
		return nil
	case *check:
		return fmt.Errorf("%s: the settings are not what the proto files say; run make generate\n%s", path, difference(string(have), want))
	}
	return os.WriteFile(path, []byte(want), 0o644) //nolint:gosec // everyone may read it, as every file of a checkout
}
