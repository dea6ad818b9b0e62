package format

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Writer writes one JSON object, member by member, and the elements of its
// arrays one a line: what is written is never all in memory, and two documents
// can be compared line by line. Errors are kept for Close.
type Writer struct {
	w       *bufio.Writer
	line    bytes.Buffer
	json    *json.Encoder
	started bool // a member or element was written at this level
	err     error
}

// NewWriter starts the object.
func NewWriter(w io.Writer) *Writer {
	out := &Writer{w: bufio.NewWriterSize(w, 64<<10)}
	out.json = json.NewEncoder(&out.line)
	out.json.SetEscapeHTML(false)
	out.w.WriteString("{")
	return out
}

// Member writes one member of the object.
func (w *Writer) Member(name string, value any) {
	w.name(name)
	w.value(value)
}

// Array starts a member that is an array, for Element and End.
func (w *Writer) Array(name string) {
	w.name(name)
	w.w.WriteString("[")
	w.started = false
}

// Element writes one element of the array.
func (w *Writer) Element(value any) {
	if w.started {
		w.w.WriteByte(',')
	}
	w.w.WriteString("\n  ")
	w.value(value)
	w.started = true
}

// End ends the array.
func (w *Writer) End() {
	w.w.WriteString("\n ]")
	w.started = true
}

// Close ends the object and returns the first error.
func (w *Writer) Close() error {
	w.w.WriteString("\n}\n")
	return errors.Join(w.err, w.w.Flush())
}

func (w *Writer) name(name string) {
	if w.started {
		w.w.WriteByte(',')
	}
	w.w.WriteString("\n ")
	w.value(name)
	w.w.WriteString(": ")
	w.started = true
}

func (w *Writer) value(v any) {
	w.line.Reset()
	if err := w.json.Encode(v); err != nil && w.err == nil {
		w.err = err
	}
	w.w.Write(bytes.TrimRight(w.line.Bytes(), "\n"))
}

// What a document may cost to read. The largest that are known, of monorepos
// and of images with every file listed, stay far below.
const (
	maxDocument = 256 << 20 // bytes
	maxElement  = 16 << 20  // bytes of one member, or of one element of an array
	maxKept     = 64 << 20  // bytes of the elements that became components
	// MaxComponents of one document.
	MaxComponents = 100_000
	// MaxNesting of components within components.
	MaxNesting = 64
)

// Reader reads one JSON object, member by member, and its arrays element by
// element, so that never more than one of them is in memory.
type Reader struct {
	in   limited
	json *json.Decoder
	// Bytes of the last Value, and of all that were kept.
	last, kept int64
}

// limited counts down what may still be read: of the document, and of the
// element that is being read.
type limited struct {
	r                 io.Reader
	document, element int64
}

func (l *limited) Read(p []byte) (int, error) {
	switch {
	case l.document <= 0:
		return 0, fmt.Errorf("document is larger than %d MiB", maxDocument>>20)
	case l.element <= 0:
		return 0, fmt.Errorf("element is larger than %d MiB", maxElement>>20)
	}
	n, err := l.r.Read(p[:min(int64(len(p)), l.document, l.element)])
	l.document -= int64(n)
	l.element -= int64(n)
	return n, err
}

// NewReader reads from r, to its end.
func NewReader(r io.Reader) *Reader {
	in := bufio.NewReader(r)
	if mark, _ := in.Peek(3); string(mark) == "\ufeff" {
		_, _ = in.Discard(3) // some tools on Windows begin UTF-8 with a byte order mark
	}
	out := &Reader{in: limited{r: in, document: maxDocument}}
	out.json = json.NewDecoder(&out.in)
	return out
}

// Members calls f with the name of each member of the object. f reads the
// member's value, with Value, Each or Skip.
func (r *Reader) Members(f func(name string) error) error {
	if first, err := r.token(); err != nil {
		return err
	} else if first != json.Delim('{') {
		return errors.New("not a JSON object")
	}
	for r.json.More() {
		key, err := r.token()
		if err != nil {
			return err
		}
		name, _ := key.(string)
		if err := f(name); err != nil {
			return fmt.Errorf("%.40q: %w", name, err)
		}
	}
	if _, err := r.token(); err != nil {
		return err
	}
	if _, err := r.token(); !errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("text after the end of the JSON object")
	}
	return nil
}

// Each calls f for each element of the array that comes next; f reads it with
// Value. A value that is no array is an error; null is an empty array.
func (r *Reader) Each(f func() error) error {
	first, err := r.token()
	switch {
	case err != nil:
		return err
	case first == nil:
		return nil
	case first != json.Delim('['):
		return errors.New("not an array")
	}
	for i := 0; r.json.More(); i++ {
		if err := f(); err != nil {
			return fmt.Errorf("element %d: %w", i, err)
		}
	}
	_, err = r.token()
	return err
}

// Value reads the next value into v, as json.Unmarshal does.
func (r *Reader) Value(v any) error {
	r.in.element = maxElement
	start := r.json.InputOffset()
	err := r.json.Decode(v)
	r.last = r.json.InputOffset() - start
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Keep accounts for the last Value: what was made of it stays in memory.
func (r *Reader) Keep() error {
	r.kept += r.last
	r.last = 0
	if r.kept > maxKept {
		return fmt.Errorf("components of more than %d MiB", maxKept>>20)
	}
	return nil
}

// Skip passes over the next value; over an array or an object piece by piece,
// because what is skipped is often what is largest.
func (r *Reader) Skip() error {
	first, err := r.token()
	if err != nil {
		return err
	}
	if first != json.Delim('[') && first != json.Delim('{') {
		return nil
	}
	for r.json.More() {
		if first == json.Delim('{') {
			if _, err := r.token(); err != nil {
				return err
			}
		}
		if err := r.Value(&ignored{}); err != nil {
			return err
		}
	}
	_, err = r.token()
	return err
}

type ignored struct{}

func (*ignored) UnmarshalJSON([]byte) error { return nil }

// token is json.Decoder.Token, but the end of the input is never an end that
// was expected.
func (r *Reader) token() (json.Token, error) {
	r.in.element = maxElement
	t, err := r.json.Token()
	if errors.Is(err, io.EOF) {
		return nil, io.ErrUnexpectedEOF
	}
	return t, err
}
