package train

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// tensorBoard writes an event file of TensorBoard. A file is a sequence of records,
//
//	8 bytes  length n, little-endian
//	4 bytes  masked CRC-32C of the length
//	n bytes  a protocol buffer Event
//	4 bytes  masked CRC-32C of the n bytes
//
// where masked(c) = (c rotated right by 15 bits) + 0xa282ead8, and
//
//	Event{1: wall_time double, 2: step int64, 3: file_version string, 5: summary Summary, 7: session_log SessionLog}
//	Summary{1: repeated Value{1: tag string, 2: simple_value float}}    SessionLog{1: status, START = 1}
//
// The first record is the file version; a session log at the start of a resumed run makes TensorBoard forget the steps that
// an interrupted run had gone beyond its checkpoint. Not safe for concurrent use.
type tensorBoard struct {
	file *os.File
	now  func() time.Time
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// newTensorBoard begins a new event file in the folder; step is the first that it will tell of.
func newTensorBoard(dir string, step int, now func() time.Time) (*tensorBoard, error) {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, fmt.Errorf("train: %w", err)
	}
	var f *os.File
	for i := 0; ; i++ {
		// TensorBoard reads the files of a folder in the order of their names.
		name := filepath.Join(dir, fmt.Sprintf("events.out.tfevents.%010d.%03d.graft", now().Unix(), i))
		var err error
		if f, err = os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o666); err == nil {
			break
		}
		if !os.IsExist(err) {
			return nil, fmt.Errorf("train: %w", err)
		}
	}
	t := &tensorBoard{file: f, now: now}
	version := protowire.AppendTag(nil, 3, protowire.BytesType)
	version = protowire.AppendString(version, "brain.Event:2")
	session := protowire.AppendTag(nil, 7, protowire.BytesType)
	session = protowire.AppendBytes(session, []byte{1 << 3, 1})
	err := t.event(0, version)
	if err == nil {
		err = t.event(step, session)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return t, nil
}

// scalars records values of a step.
func (t *tensorBoard) scalars(step int, metrics ...Metric) error {
	if t == nil {
		return nil // the run writes none
	}
	var summary []byte
	for _, m := range metrics {
		value := protowire.AppendTag(nil, 1, protowire.BytesType)
		value = protowire.AppendString(value, m.Name)
		value = protowire.AppendTag(value, 2, protowire.Fixed32Type)
		value = protowire.AppendFixed32(value, math.Float32bits(float32(m.Value)))
		summary = protowire.AppendTag(summary, 1, protowire.BytesType)
		summary = protowire.AppendBytes(summary, value)
	}
	what := protowire.AppendTag(nil, 5, protowire.BytesType)
	return t.event(step, protowire.AppendBytes(what, summary))
}

// event writes one record: an Event of this moment whose last field is what.
func (t *tensorBoard) event(step int, what []byte) error {
	seconds := float64(t.now().UnixNano()) / 1e9
	e := protowire.AppendTag(nil, 1, protowire.Fixed64Type)
	e = protowire.AppendFixed64(e, math.Float64bits(seconds))
	e = protowire.AppendTag(e, 2, protowire.VarintType)
	e = protowire.AppendVarint(e, uint64(step))
	e = append(e, what...)

	r := binary.LittleEndian.AppendUint64(nil, uint64(len(e)))
	r = binary.LittleEndian.AppendUint32(r, masked(r))
	r = append(r, e...)
	r = binary.LittleEndian.AppendUint32(r, masked(e))
	if _, err := t.file.Write(r); err != nil {
		return fmt.Errorf("train: %w", err)
	}
	return nil
}

func masked(b []byte) uint32 {
	c := crc32.Checksum(b, castagnoli)
	return (c>>15 | c<<17) + 0xa282ead8
}
