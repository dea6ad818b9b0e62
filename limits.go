package plimsoll

// Limits bound what hostile content can cost. Zero fields are not "no limit":
// start from DefaultLimits.
type Limits struct {
	// Memory in bytes that the process should stay under. It is a soft target
	// for the runtime and sizes the buffers; the bound of one scan.
	Memory int64
	// Spool is how many bytes of temporary files may exist at one time.
	Spool int64
	// Entries of one layer's tar stream, and of one archive inside it.
	Entries int64
	// Nesting of archives within archives (a jar in a war in an ear is 3).
	Nesting int
	// Ratio of uncompressed to compressed bytes of one stream, once the
	// stream has given 64 MiB.
	Ratio int64
	// FileSize in bytes of a single file that a detector may read.
	FileSize int64
}

// DefaultLimits suit every image that people build in good faith.
func DefaultLimits() Limits {
	return Limits{
		Memory:   150 << 20,
		Spool:    2 << 30,
		Entries:  1_000_000,
		Nesting:  8,
		Ratio:    200,
		FileSize: 1 << 30,
	}
}
