package cache

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/klauspost/compress/zstd"
)

// MaxValue is the size of the largest value that can be kept.
const MaxValue = 64 << 20

// A file is: magic with the version of the format, checksum of all that
// follows, length of the key and of the value, the key, the value in zstd.
const (
	magic      = "plimcac\x01"
	sumAt      = len(magic)
	lengthsAt  = sumAt + sha256.Size
	keyAt      = lengthsAt + 4 + 4
	maxKey     = 64 << 10
	maxFile    = MaxValue + MaxValue/64 + maxKey + 4096 // zstd makes nothing much larger
	windowSize = 1 << 20
)

// errDamaged: the file is not one that this version wrote for the key.
var errDamaged = errors.New("not an entry of this cache")

// codec turns values into files and back, for several goroutines at once.
type codec struct {
	encoder *zstd.Encoder
	decoder *zstd.Decoder
}

func newCodec() (*codec, error) {
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
		zstd.WithWindowSize(windowSize), zstd.WithLowerEncoderMem(true), zstd.WithEncoderCRC(false))
	if err != nil {
		return nil, err
	}
	decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(MaxValue),
		zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderLowmem(true))
	if err != nil {
		return nil, err
	}
	return &codec{encoder, decoder}, nil
}

func (c *codec) encode(key string, value []byte) ([]byte, error) {
	if len(value) > MaxValue || len(key) > maxKey {
		return nil, fmt.Errorf("a value of %d bytes with a key of %d bytes is too large for the cache", len(value), len(key))
	}
	file := make([]byte, keyAt, keyAt+len(key)+len(value)/4)
	copy(file, magic)
	binary.LittleEndian.PutUint32(file[lengthsAt:], uint32(len(key)))
	binary.LittleEndian.PutUint32(file[lengthsAt+4:], uint32(len(value)))
	file = append(file, key...)
	file = c.encoder.EncodeAll(value, file)
	return seal(file), nil
}

// seal writes the checksum into the file.
func seal(file []byte) []byte {
	sum := sha256.Sum256(file[lengthsAt:])
	copy(file[sumAt:], sum[:])
	return file
}

// decode returns the value in file, if it is the one of key.
func (c *codec) decode(key string, file []byte) ([]byte, error) {
	if len(file) < keyAt || string(file[:sumAt]) != magic {
		return nil, errDamaged
	}
	if sum := sha256.Sum256(file[lengthsAt:]); string(sum[:]) != string(file[sumAt:lengthsAt]) {
		return nil, errDamaged
	}
	keySize := binary.LittleEndian.Uint32(file[lengthsAt:])
	size := binary.LittleEndian.Uint32(file[lengthsAt+4:])
	rest := file[keyAt:]
	if uint64(keySize) > uint64(len(rest)) || string(rest[:keySize]) != key || size > MaxValue {
		return nil, errDamaged
	}
	// The decoder writes no more than there is room for, whatever the
	// compressed bytes say.
	value, err := c.decoder.DecodeAll(rest[keySize:], make([]byte, 0, size))
	if err != nil || len(value) != int(size) {
		return nil, errDamaged
	}
	return value, nil
}
