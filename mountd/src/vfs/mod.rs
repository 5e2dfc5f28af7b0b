//! The file system's operations, between the kernel's side and the cluster's. Knows neither fuser nor tarpc; asks the
//! world only through [`cluster::Cluster`].
//!
//! | room | what is in it |
//! |---|---|
//! | [`tree`], [`predict`] | pure: what is known, and what follows from it |
//! | [`change_queue`], [`write_behind`], [`prefetch`] | pure: what is to be sent or fetched, and in which order |
//! | [`late`], [`unreadable`] | pure: who is told of writes that could not be made, and what need not be asked for again |
//! | [`atime`] | pure: which reads move access times |
//! | `changes`, `push`, `care` | send it, and take the outcomes in; what is done from time to time |
//! | `access` | access times, and reads that the kernel would answer by itself |
//! | `caller` | who asks |
//! | `reshape` | changes of chunks that go past what is written behind |
//! | `names`, `attrs`, `dirs`, `files`, `sync`, `space`, `copy`, `xattrs`, `place` | the operations, by kind |
//! | `memory_cluster` | a cluster for tests |
//!
//! Two kinds of locks, both short and never held across an await: a file's data before the names.

mod access;
pub mod atime;
mod attrs;
mod caller;
mod care;
pub mod change_queue;
mod changes;
pub mod cluster;
mod copy;
mod dirs;
mod files;
mod handles;
pub mod late;
mod losses;
#[cfg(test)]
pub mod memory_cluster;
mod names;
mod place;
pub mod predict;
pub mod prefetch;
mod push;
pub mod push_queue;
pub mod replaced;
mod reshape;
pub mod retained;
mod rhythm;
mod space;
pub mod stop;
mod sync;
mod tail;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
pub mod tree;
pub mod unreadable;
pub mod write_behind;
mod xattrs;

pub use access::{Forget, Pages};
pub use atime::{Atime, AtimeRule};
pub use attrs::{Set, SetTime};
pub use caller::Caller;
pub use changes::Doubtful;
pub use dirs::DirEntry;
pub use files::OpenMode;
pub use names::NewNode;
pub use space::{Allocate, Seek, Totals};
pub use tail::{Clear, Cleared, PAGE_BYTES};

use care::{Allowance, Freed};
use change_queue::Ticket;
use changes::Names;
use cluster::Cluster;
use files::File;
use handles::Handles;
use parking_lot::Mutex;
use prefetch::Prefetch;
use push::Pusher;
use raidfs_common::id::Ino;
use raidfs_common::time::Time;
use replaced::Replaced;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::SystemTime;
use tokio::sync::{Notify, watch};

/// How the file system behaves.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// A change of names is answered only once a quorum has it on stable storage.
    pub strict: bool,
    /// How much is remembered of names and attributes.
    pub limits: tree::Limits,
}

/// The file system. Cheap to clone; all clones are one.
pub struct Vfs<C: Cluster>(Arc<Shared<C>>);

impl<C: Cluster> Clone for Vfs<C> {
    fn clone(&self) -> Vfs<C> {
        Vfs(self.0.clone())
    }
}

/// What all operations share.
struct Shared<C> {
    cluster: Arc<C>,
    options: Options,
    names: Mutex<Names>,
    /// Changes wait in the queue.
    queue_filled: Notify,
    /// The outcomes of everything up to here are in.
    queue_settled: watch::Sender<Ticket>,
    /// Changes up to here are on stable storage on a quorum.
    durable: AtomicU64,
    /// Each is, before it is answered.
    synchronous: AtomicBool,
    /// Files that are open, or have bytes or sizes to be sent.
    files: Mutex<BTreeMap<Ino, Arc<File>>>,
    handles: Mutex<Handles>,
    pusher: Pusher,
    prefetch: Mutex<Prefetch>,
    closed: AtomicBool,
    closing: Notify,
    /// What may be answered before it is stored, by the room on the disks.
    allowance: Allowance,
    /// When room was given back last.
    freed: Freed,
    replaced: Mutex<Replaced>,
    /// Bytes have landed that no sync of everything has covered.
    unsynced: AtomicBool,
    /// Held while all of them are synced: who finds none may rely on that having ended.
    syncing: tokio::sync::Mutex<()>,
    /// Files that nobody has open any more, of which there are such bytes. A leaf: no other lock is taken under it.
    left_unsynced: Mutex<losses::Left>,
    /// Bytes that are kept although they have landed, of all files together.
    retained: AtomicUsize,
    doubtful: mpsc::Sender<Doubtful>,
    doubts: Mutex<Option<mpsc::Receiver<Doubtful>>>,
    atime: Mutex<AtimeRule>,
    /// The inode that lost its capabilities last, and the thread that took them. Held alone, for a moment.
    uncapped: Mutex<Option<(Ino, u32)>>,
    to_forget: mpsc::Sender<Forget>,
    forgets: Mutex<Option<mpsc::Receiver<Forget>>>,
    to_launder: mpsc::Sender<Forget>,
    launders: Mutex<Option<mpsc::Receiver<Forget>>>,
    to_clear: mpsc::Sender<Clear>,
    clears: Mutex<Option<mpsc::Receiver<Clear>>>,
    /// Somebody passes on to the kernel what it is to forget.
    kernel_hears: AtomicBool,
}

impl<C: Cluster> Vfs<C> {
    /// A file system over `cluster`. Must be called within a tokio runtime, whose tasks then send what is written
    /// behind until [`Vfs::close`].
    pub fn new(cluster: Arc<C>, options: Options) -> Vfs<C> {
        let (doubtful, doubts) = mpsc::channel();
        let (to_forget, forgets) = mpsc::channel();
        let (to_launder, launders) = mpsc::channel();
        let (to_clear, clears) = mpsc::channel();
        let shared = Arc::new(Shared {
            cluster,
            options,
            names: Mutex::new(Names::new(options.limits)),
            queue_filled: Notify::new(),
            queue_settled: watch::Sender::new(0),
            durable: AtomicU64::new(0),
            synchronous: AtomicBool::new(false),
            files: Mutex::new(BTreeMap::new()),
            handles: Mutex::new(Handles::default()),
            pusher: Pusher::default(),
            prefetch: Mutex::default(),
            closed: AtomicBool::new(false),
            closing: Notify::new(),
            allowance: Allowance::default(),
            freed: Freed::default(),
            replaced: Mutex::default(),
            unsynced: AtomicBool::new(false),
            syncing: Default::default(),
            left_unsynced: Mutex::default(),
            retained: AtomicUsize::new(0),
            doubtful,
            doubts: Mutex::new(Some(doubts)),
            atime: Mutex::default(),
            uncapped: Mutex::default(),
            to_forget,
            forgets: Mutex::new(Some(forgets)),
            to_launder,
            launders: Mutex::new(Some(launders)),
            to_clear,
            clears: Mutex::new(Some(clears)),
            kernel_hears: AtomicBool::new(false),
        });
        tokio::spawn(shared.clone().send_changes());
        tokio::spawn(shared.clone().push_files());
        tokio::spawn(shared.clone().look_after());
        tokio::spawn(shared.clone().watch_losses());
        Vfs(shared)
    }

    /// What the kernel must forget, as it turns out; None the second time.
    pub fn doubts(&self) -> Option<mpsc::Receiver<Doubtful>> {
        self.0.doubts.lock().take()
    }

    /// Sends everything that is written behind, has it on stable storage, and ends. Says what could not be, if anything.
    pub async fn close(&self) -> Result<(), raidfs_common::error::FsError> {
        let result = self.sync_all().await;
        self.0.closed.store(true, Ordering::Release);
        self.0.queue_filled.notify_one();
        self.0.pusher.wake.notify_one();
        self.0.closing.notify_waiters();
        result
    }
}

impl<C> Shared<C> {
    fn now(&self) -> Time {
        Time::from(SystemTime::now())
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}
