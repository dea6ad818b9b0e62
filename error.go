package plimsoll

import "errors"

// Error is an error that a person can act on: what went wrong, and what to do.
type Error struct {
	Err  error
	Hint string // one sentence, without a full stop
}

// WithHint adds a hint to err; nil stays nil.
func WithHint(err error, hint string) error {
	if err == nil {
		return nil
	}
	return &Error{Err: err, Hint: hint}
}

// Error is the wrapped error's message; the hint is printed apart from it.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the wrapped error.
func (e *Error) Unwrap() error { return e.Err }

// HintOf is the hint of the outermost Error in err's chain, or "".
func HintOf(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Hint
	}
	return ""
}
