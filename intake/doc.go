// Package intake takes messages in and never lets go of one before it is in its insurer's cell.
//
// # Promises
//
//   - [Journal.Append] returns nil only when the message is sealed to its compartment's public key and synced on every
//     configured copy. It asks no door, no cell and no private key; there is no other way in.
//   - What Append has acknowledged is delivered exactly once in effect, per compartment in the order of acknowledgement,
//     whatever crashes in between: the cell's batch that stores a message also moves the cell's cursor behind it.
//   - A damaged record never makes another one unreadable. It is read from another copy and mended from there; if no copy
//     has it whole, its bytes are put aside in the quarantine directory, counted and shown, and delivery goes on.
//   - When there is no room, or a copy cannot be written, Append fails with CodeNoRoom and everything acknowledged stays.
//   - [Pump] delivers while a door is open, stops at the next record when it is not, and then holds no private key. A
//     flooded compartment waits for its turns like every other one.
//
// # On disk
//
// Every copy is a directory with the same files. A segment <number>.seg is preallocated and filled with zeros, so that
// syncing a record moves no metadata; its number has 16 hexadecimal digits. Integers are big-endian.
//
//	segment header   64 bytes at offsets 0 and 512: magic "QSJSEG01", journal id (16), segment number u64, size u64,
//	                 zeros, CRC-32C u32 of the 60 bytes before
//	records          from offset 1024, each at a multiple of 32 bytes, padded with zeros
//	index            one record at offset size, written when the segment is closed; a cache, rebuilt by scanning
//
//	record header    112 bytes: magic "QSJR", CRC-32C u32 of journal id, segment number and the rest of the
//	                 header, body length u32, CRC-32C u32 of the body, sequence number u64, received u64 (Unix
//	                 microseconds), IK u32, service u8, kind u8, zeros u16, context counter u32, offset of the context
//	                 record u32, context id (16), binding (32), settled u32: everything before this offset was
//	                 durable on every copy when the record was written, zeros
//	entry   (kind 1) body: ciphertext of sender, recipient, message id, message
//	context (kind 2) body: the HPKE encapsulated key; written twice in each segment that uses it, so that damage in one
//	                 place costs no entry
//	index   (kind 3) body: for each entry its sequence number, offset, length, received, IK and service
//
// The binding is SHA-256 over sender and message id; it stands in the clear so that the associated data of an entry is
// known before it is opened, and so that an audit can tell which messages are here without any key. The associated data
// binds compartment, binding, sequence number and time received.
//
// Entries are those that any copy has. A gap in the sequence numbers of a segment that lies before what a later record calls
// settled was promised and is damaged in every copy; any other gap is what an interrupted write has left.
//
// A sequence number is the segment's number times 2^24 plus the entry's place in it, counted from one.
//
// A journal that was rolled back does not give a number twice: the cells' cursors raise it above everything they have taken.
//
// Scanning goes on behind a damaged record at the next multiple of 32 bytes with a valid header. A process that starts
// never appends to an older segment, so whatever an interrupted write left behind stays as it is.
package intake
