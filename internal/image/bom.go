package image

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/plimsoll/plimsoll"
	"github.com/plimsoll/plimsoll/internal/format/cyclonedx"
	"github.com/plimsoll/plimsoll/internal/format/spdx"
)

// stdinBOM is how large a document on standard input may be: it is looked at
// twice, and so kept.
const stdinBOM = 32 << 20

// openBOM opens an existing bill of materials; "-" is standard input.
func openBOM(_ context.Context, path string, o Options) ([]*Image, error) {
	bom, err := readBOM(path, o)
	if err != nil {
		return nil, fmt.Errorf("bill of materials %s: %w", path, err)
	}
	bom.Image.Name, bom.Image.Source = path, "sbom"
	img := newImage("sbom", path, bom.Image.Platform, func(context.Context, Reader) (plimsoll.Image, error) { return bom.Image, nil })
	img.BOM = bom
	return []*Image{img}, nil
}

func readBOM(path string, o Options) (*plimsoll.BOM, error) {
	var document io.ReadSeeker
	if path == "-" {
		if o.Stdin == nil {
			return nil, errors.New("there is no standard input")
		}
		content, err := io.ReadAll(io.LimitReader(o.Stdin, stdinBOM+1))
		if err != nil {
			return nil, err
		}
		if len(content) > stdinBOM {
			return nil, plimsoll.WithHint(fmt.Errorf("more than %d MiB on standard input", stdinBOM>>20), "save it to a file")
		}
		document = bytes.NewReader(content)
	} else {
		f, err := openRegular(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		document = f
	}
	decode, err := bomFormat(document)
	if err != nil {
		return nil, err
	}
	if _, err := document.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	return decode(document)
}

// bomFormat finds the decoder for a document by its top-level names, which may
// be in any order.
func bomFormat(r io.Reader) (func(io.Reader) (*plimsoll.BOM, error), error) {
	d := json.NewDecoder(r)
	depth, isName := 0, false
	for {
		token, err := d.Token()
		if err == io.EOF {
			return nil, errNotBOM()
		}
		if err != nil {
			return nil, fmt.Errorf("it is no JSON document: %w", err)
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			if depth++; depth == 1 && token != json.Delim('{') {
				return nil, errNotBOM()
			}
			if depth > 1000 {
				return nil, errors.New("it is nested too deep")
			}
			isName = true
			continue
		case json.Delim('}'), json.Delim(']'):
			depth--
			isName = true
			continue
		}
		if depth != 1 {
			continue
		}
		if isName {
			switch token {
			case "bomFormat":
				return cyclonedx.Decode, nil
			case "spdxVersion":
				return spdx.Decode, nil
			}
		}
		isName = !isName
	}
}

func errNotBOM() error {
	return plimsoll.WithHint(errors.New("it is neither a CycloneDX nor an SPDX 2 document in JSON"), "convert it to CycloneDX or SPDX JSON first")
}
