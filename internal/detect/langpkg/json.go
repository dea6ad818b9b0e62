package langpkg

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
)

// jsonReader reads a JSON text as a stream, key by key. Keys match exactly, as
// they do for the tools that wrote the file: encoding/json's own struct fields
// match in any case, so that "Version" could hide "version".
type jsonReader struct {
	*json.Decoder
	reader  *bufio.Reader   // that the decoder reads from
	skipped json.RawMessage // kept so that skipping need not allocate
}

// newJSONReader passes over a byte order mark, as npm and .NET do.
func newJSONReader(content *io.SectionReader) *jsonReader {
	var mark [3]byte
	if n, _ := content.ReadAt(mark[:], 0); n == 3 && string(mark[:]) == "\ufeff" {
		content = io.NewSectionReader(content, 3, content.Size()-3)
	}
	return newJSONStream(content)
}

func newJSONStream(r io.Reader) *jsonReader {
	br := bufio.NewReader(r)
	return &jsonReader{Decoder: json.NewDecoder(br), reader: br}
}

// first is the first byte of the text that is no space. It must be asked
// before anything is read.
func (d *jsonReader) first() (byte, error) {
	for {
		c, err := d.reader.ReadByte()
		if err != nil {
			return 0, err
		}
		if c != ' ' && c != '\t' && c != '\r' && c != '\n' {
			return c, d.reader.UnreadByte()
		}
	}
}

// object reads an object and calls visit for each key; visit may decode the
// value, and tells by its result whether it did.
func (d *jsonReader) object(visit func(key string) (used bool, err error)) error {
	if err := d.delimiter('{'); err != nil {
		return err
	}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return err
		}
		key, ok := t.(string)
		if !ok {
			return fmt.Errorf("a key that is no string: %v", t)
		}
		used, err := visit(key)
		if err != nil {
			return err
		}
		if !used {
			if err := d.Decode(&d.skipped); err != nil {
				return err
			}
		}
	}
	return d.delimiter('}')
}

// array reads an array and calls visit, which must decode it, for each element.
func (d *jsonReader) array(visit func() error) error {
	if err := d.delimiter('['); err != nil {
		return err
	}
	for d.More() {
		if err := visit(); err != nil {
			return err
		}
	}
	return d.delimiter(']')
}

// end checks that nothing but space follows.
func (d *jsonReader) end() error {
	t, err := d.Token()
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err != nil {
		return err
	}
	return fmt.Errorf("%v after the end of the JSON text", t)
}

func (d *jsonReader) delimiter(want json.Delim) error {
	t, err := d.Token()
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	if err != nil {
		return err
	}
	if t != want {
		return fmt.Errorf("%.40q where %q should be", fmt.Sprint(t), want)
	}
	return nil
}

// fields reads an object and keeps the values of the given keys, as text.
func (d *jsonReader) fields(keys ...string) (map[string]json.RawMessage, error) {
	values := make(map[string]json.RawMessage, len(keys))
	err := d.object(func(key string) (bool, error) {
		if !slices.Contains(keys, key) {
			return false, nil
		}
		var v json.RawMessage
		err := d.Decode(&v)
		values[key] = v
		return true, err
	})
	return values, err
}

// jsonFields is fields for a value that was kept as text. What is no object
// has no fields.
func jsonFields(raw json.RawMessage, keys ...string) map[string]json.RawMessage {
	values, err := (&jsonReader{Decoder: json.NewDecoder(bytes.NewReader(raw))}).fields(keys...)
	if err != nil {
		return nil
	}
	return values
}

// jsonString is the value if it is a string, otherwise "".
func jsonString(raw json.RawMessage) (s string, ok bool) {
	if len(raw) == 0 || raw[0] != '"' {
		return "", false
	}
	err := json.Unmarshal(raw, &s)
	return s, err == nil
}

// jsonList is the elements of an array, or the value itself.
func jsonList(raw json.RawMessage) []json.RawMessage {
	if len(raw) == 0 || raw[0] != '[' {
		return []json.RawMessage{raw}
	}
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil {
		return nil
	}
	return list
}
