//! Every bound of the system, with its unit, and the relations between them.

use std::time::Duration;

/// A file is cut into chunks of this many bytes.
pub const CHUNK_BYTES: u64 = 4 << 20;
/// A checksum covers this many bytes of a chunk.
pub const BLOCK_BYTES: u64 = 4096;
/// Checksums of one chunk.
pub const BLOCKS_PER_CHUNK: usize = (CHUNK_BYTES / BLOCK_BYTES) as usize;
/// Largest file: the last chunk's index still fits 32 bits, and offsets fit `off_t`.
pub const FILE_MAX_BYTES: u64 = CHUNK_BYTES * (1 << 32);
/// With less room than this on a pair, clients store writes before they answer them: what they keep might not find room any
/// more.
pub const SCARCE_BYTES: u64 = 512 << 20;

/// Longest name of a directory entry (`NAME_MAX`).
pub const NAME_MAX_BYTES: usize = 255;
/// Longest symbolic link target (`PATH_MAX` less its NUL).
pub const SYMLINK_MAX_BYTES: usize = 4095;
/// Longest name of an extended attribute (`XATTR_NAME_MAX`).
pub const XATTR_NAME_MAX_BYTES: usize = 255;
/// Largest value of an extended attribute (`XATTR_SIZE_MAX`).
pub const XATTR_VALUE_MAX_BYTES: usize = 65_536;
/// Longest list of the names of one inode's extended attributes, each with its NUL (`XATTR_LIST_MAX`): the kernel gives no
/// program a longer one. Beyond it ENOSPC.
pub const XATTR_LIST_MAX_BYTES: usize = 65_536;
/// Largest sum of names and values of one inode's extended attributes; beyond it ENOSPC.
pub const XATTR_TOTAL_MAX_BYTES: usize = 128 << 10;
/// Entries of an access control list: the kernel reads one page of it, and puts 4 bytes before entries of 8. Beyond it E2BIG.
pub const ACL_ENTRIES_MAX: usize = (4096 - 4) / 8;
/// Hard links to one file; beyond it EMLINK.
pub const LINKS_MAX: u32 = 65_000;

/// Header of one frame; larger ones drop the connection.
pub const FRAME_HEADER_MAX_BYTES: usize = 4 << 20;
/// Payload of one frame.
pub const FRAME_PAYLOAD_MAX_BYTES: usize = 8 << 20;
/// The first frame of a connection.
pub const HELLO_MAX_BYTES: usize = 1024;
/// A connection that has not said hello by then is dropped.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(3);
/// Connections that one server serves at once; more are refused.
pub const CONNECTIONS_MAX: usize = 1024;
/// Requests of one connection that are served at once; the next is read when one of them is answered.
pub const REQUESTS_PER_CONNECTION_MAX: usize = 256;
/// Bytes of requests and answers that a server keeps for all clients together, beside 64 KiB for each connection
/// ([`crate::budget`]): beyond that it reads no more from who holds its share, until some is given back.
pub const CLIENTS_BYTES_MAX: usize = 192 << 20;
/// The same for the other servers, apart for chunks and for agreement: none of these waits for a client.
pub const SERVERS_BYTES_MAX: usize = 256 << 20;
/// Calls of the command line that read all there is, at once; more wait.
pub const HEAVY_CALLS_MAX: usize = 2;

/// Changes that one log entry carries at most.
pub const CHANGES_PER_ENTRY_MAX: usize = 1024;
/// Bytes of one log entry; a batch of changes that is larger is refused.
pub const ENTRY_MAX_BYTES: usize = 2 << 20;
/// Bytes of entries that one append carries at most (one entry is always sent whole).
pub const APPEND_MAX_BYTES: usize = 1 << 20;
/// One piece of a snapshot.
pub const SNAPSHOT_PIECE_BYTES: usize = 1 << 20;
/// Entries of one reply to a directory read.
pub const DIR_PAGE_ENTRIES: usize = 2048;
/// Inode numbers granted to a session at a time.
pub const INO_GRANT: u64 = 1 << 20;
/// Outcomes kept for one session, so that a retry sees its first outcome; a session has fewer in flight.
pub const OUTCOMES_KEPT_MAX: usize = 4096;

/// The leader tells every follower that it lives this often.
pub const HEARTBEAT: Duration = Duration::from_millis(50);
/// A follower that has heard nothing for this long, plus a random share of it, asks for votes.
pub const ELECTION: Duration = Duration::from_millis(600);
/// A follower asks so often over a connection of its own whether the leader is there.
pub const PING: Duration = Duration::from_millis(200);
/// A leader serves this long after the sending of a heartbeat round that a quorum answered.
pub const LEASE: Duration = Duration::from_millis(500);
/// A server serves chunks this long after its last word with a leader.
pub const SERVER_LEASE: Duration = Duration::from_millis(1500);
/// The log is synced at least this often when nothing asks for it.
pub const LOG_SYNC_EVERY: Duration = Duration::from_millis(500);
/// A forward to the mirror that takes longer gets the mirror evicted.
pub const FORWARD_STUCK: Duration = Duration::from_millis(500);
/// A server that has not answered heartbeats for this long is evicted, if its mirror has.
pub const SILENT: Duration = Duration::from_millis(800);
/// A mount session whose client has been silent for this long has lapsed: whoever wants to mount need not ask for it.
pub const SESSION_LEASE: Duration = Duration::from_secs(10);
/// A mount session that has been silent for this long ends, though nobody wants to mount. Until then a machine that stood
/// still, or lost its network, goes on where it was.
pub const SESSION_ABANDONED: Duration = Duration::from_secs(30);
/// How often a mount session says that it lives.
pub const SESSION_KEEP_ALIVE: Duration = Duration::from_secs(2);
/// Operations that cannot be served wait this long before EIO, unless configured.
pub const IO_TIMEOUT: Duration = Duration::from_secs(30);
/// Each server looks through all of its chunks by itself this often, unless configured.
pub const SCRUB_EVERY: Duration = Duration::from_secs(7 * 86_400);

const _: () = assert!(CHUNK_BYTES.is_multiple_of(BLOCK_BYTES));
const _: () = assert!(LEASE.as_millis() < ELECTION.as_millis(), "a leader's lease ends before another is elected");
const _: () = assert!(PING.as_millis() * 3 <= ELECTION.as_millis(), "a lost ping does not cost the lead");
const _: () = assert!(HEARTBEAT.as_millis() * 4 < LEASE.as_millis(), "a lost heartbeat does not cost the lease");
const _: () = assert!(CHUNK_BYTES as usize <= FRAME_PAYLOAD_MAX_BYTES, "a whole chunk fits one frame");
const _: () = assert!(ENTRY_MAX_BYTES + APPEND_MAX_BYTES < FRAME_HEADER_MAX_BYTES, "an append fits one frame");
const _: () = assert!(CHANGES_PER_ENTRY_MAX <= OUTCOMES_KEPT_MAX);
const _: () = assert!(crate::budget::passes_alone(CLIENTS_BYTES_MAX, crate::budget::CLIENT_HEADER_WEIGHT));
const _: () = assert!(crate::budget::passes_alone(SERVERS_BYTES_MAX, 1));
