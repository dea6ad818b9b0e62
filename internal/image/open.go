package image

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/plimsoll/plimsoll"
)

// errNotHere is an engine that is not there, or does not have the image.
var errNotHere = errors.New("not here")

// Open opens the image that name stands for: a source's prefix and what the
// source calls it.
//
//	registry:REFERENCE   docker:REFERENCE   podman:REFERENCE   containerd:REFERENCE
//	oci:DIRECTORY[:NAME|@DIGEST]    an OCI image layout
//	archive:FILE[:NAME]             what docker save or skopeo wrote, plain, gzip or zstd
//	dir:DIRECTORY                   the root file system of an image
//	sbom:FILE                       a CycloneDX or SPDX document in JSON
//
// The file "-" is Options.Stdin. Without a prefix, a path that exists is taken
// for what it looks like, and other names are looked for in the engines of
// this machine and then in their registry.
//
// It returns one Image, or with Options.AllPlatforms one for each platform.
// Only what describes the image is read here; its layers are, by Image.Read.
func Open(ctx context.Context, name string, o Options) ([]*Image, error) {
	o = o.withDefaults()
	if o.Platform != "" {
		if _, err := parsePlatform(o.Platform); err != nil {
			return nil, err
		}
	}
	source, rest, found := strings.Cut(name, ":")
	if found {
		for _, s := range sources() {
			if s.name != source {
				continue
			}
			if rest == "" {
				return nil, fmt.Errorf("%s: names no image", name)
			}
			images, err := s.open(ctx, rest, o)
			if err != nil && s.isEngine && !strings.ContainsAny(rest, ":/") {
				hint := fmt.Sprintf("if %s is the image, not the source, write registry:%s", source, name)
				if first := plimsoll.HintOf(err); first != "" {
					hint = first + "; " + hint
				}
				err = plimsoll.WithHint(err, hint)
			}
			return images, err
		}
	}
	return guess(ctx, name, o)
}

// source is one place that images come from.
type source struct {
	name     string
	isEngine bool // takes a reference, not a path
	open     func(ctx context.Context, name string, o Options) ([]*Image, error)
}

// sources in the order in which a name without a prefix is looked for.
func sources() []source {
	return []source{
		{"docker", true, one(openDocker)},
		{"podman", true, one(openPodman)},
		{"containerd", true, openContainerd},
		{"registry", true, openRegistry},
		{"oci", false, func(ctx context.Context, name string, o Options) ([]*Image, error) {
			path, ref := splitRef(name)
			return openLayout(ctx, path, ref, o)
		}},
		{"archive", false, func(ctx context.Context, name string, o Options) ([]*Image, error) {
			path, ref := splitRef(name)
			return openArchive(ctx, path, ref, o)
		}},
		{"dir", false, openDir},
		{"sbom", false, openBOM},
	}
}

// one adapts a source that has one platform of each image only.
func one(open func(context.Context, string, Options) (*Image, error)) func(context.Context, string, Options) ([]*Image, error) {
	return func(ctx context.Context, name string, o Options) ([]*Image, error) {
		img, err := open(ctx, name, o)
		if err != nil {
			return nil, err
		}
		return []*Image{img}, nil
	}
}

// splitRef splits a path from the name (:NAME) or the digest (@DIGEST) of one
// image in it. Names contain colons and slashes as paths do, so what exists
// decides.
func splitRef(name string) (path, ref string) {
	if _, err := os.Stat(name); err == nil || name == "-" {
		return name, ""
	}
	for i := len(name) - 1; i > 0; i-- {
		if name[i] != ':' && name[i] != '@' {
			continue
		}
		if _, err := os.Stat(name[:i]); err != nil && name[:i] != "-" {
			continue
		}
		if name[i] == '@' {
			return name[:i], name[i:]
		}
		return name[:i], name[i+1:]
	}
	return name, ""
}

// tried is one guess that was wrong.
type tried struct {
	what string
	err  error
}

// guessError lists all guesses.
type guessError struct {
	name  string
	tried []tried
}

func (e *guessError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "cannot open %s, tried:", quote(e.name))
	for _, t := range e.tried {
		fmt.Fprintf(&b, "\n  %s: %s", t.what, strings.ReplaceAll(t.err.Error(), "\n", " "))
	}
	return b.String()
}

// Unwrap gives the last guess first: it is the most likely, and its hint the
// best.
func (e *guessError) Unwrap() []error {
	var errs []error
	for i := len(e.tried) - 1; i >= 0; i-- {
		errs = append(errs, e.tried[i].err)
	}
	return errs
}

// guess opens a name without a prefix.
func guess(ctx context.Context, name string, o Options) ([]*Image, error) {
	failed := &guessError{name: name}
	if name == "-" {
		return guessStdin(ctx, o)
	}
	images, what, err := guessPath(ctx, name, o)
	if err == nil {
		return images, nil
	}
	failed.tried = append(failed.tried, tried{what, err})
	// What exists and is no image could be a mistake for one; what is written
	// as a path cannot be anything else.
	if isPath(name) || ctx.Err() != nil || !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errNoImage) {
		return nil, failed
	}
	for _, s := range sources() {
		if !s.isEngine {
			continue
		}
		images, err := s.open(ctx, name, o)
		if err == nil {
			return images, nil
		}
		failed.tried = append(failed.tried, tried{s.name, err})
		if ctx.Err() != nil {
			break
		}
	}
	return nil, failed
}

// isPath tells names that can only be paths.
func isPath(name string) bool {
	for _, start := range []string{"/", "./", "../", `.\`, `..\`, "~"} {
		if strings.HasPrefix(name, start) {
			return true
		}
	}
	return name == "." || name == ".."
}

// errNoImage is a file that is nothing we know.
var errNoImage = errors.New("it is no image archive (tar, plain or compressed with gzip or zstd) and no CycloneDX or SPDX document in JSON")

// guessPath opens a path as what it looks like; what says in one word what it
// was taken for.
func guessPath(ctx context.Context, name string, o Options) (images []*Image, what string, err error) {
	path, ref := name, ""
	if isPath(name) {
		path, ref = splitRef(name)
	}
	info, err := os.Stat(path)
	if err != nil {
		var pathErr *fs.PathError
		if errors.As(err, &pathErr) {
			err = pathErr.Err // the name is told already
		}
		return nil, "file", err
	}
	switch {
	case info.IsDir() && isLayout(path):
		images, err = openLayout(ctx, path, ref, o)
		return images, "oci", err
	case info.IsDir():
		images, err = openDir(ctx, path, o)
		return images, "dir", err
	case info.Mode().IsRegular():
		f, err := os.Open(path)
		if err != nil {
			return nil, "file", err
		}
		kind, err := sniffFile(f)
		if err = errors.Join(err, f.Close()); err != nil {
			return nil, "file", err
		}
		switch kind {
		case isJSON, isXML:
			images, err = openBOM(ctx, path, o)
			return images, "sbom", err
		case isOther:
			return nil, "file", errNoImage
		}
	}
	images, err = openArchive(ctx, path, ref, o)
	return images, "archive", err
}

// guessStdin opens standard input as what it looks like.
func guessStdin(ctx context.Context, o Options) ([]*Image, error) {
	if o.Stdin == nil {
		return nil, errors.New("there is no standard input")
	}
	in := bufio.NewReaderSize(o.Stdin, sniffSize)
	head, err := peek(in)
	if err != nil {
		return nil, fmt.Errorf("reading standard input: %w", err)
	}
	o.Stdin = in
	if kind := sniff(head); kind == isJSON || kind == isXML {
		return openBOM(ctx, "-", o)
	} else if kind == isOther && len(head) > 0 {
		return nil, fmt.Errorf("standard input: %w", errNoImage)
	}
	return openArchive(ctx, "-", "", o)
}
