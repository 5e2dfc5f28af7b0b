//! The vocabulary of the namespace: the changes that go through the log, the questions that do not, and their answers.
//!
//! A change carries everything that its outcome depends on besides the state: the time, the number of an inode to be
//! made, the session. Enums here are stored in logs: append variants and fields of new variants, never reorder.

use crate::attr::{Attr, FileKind};
use crate::error::FsError;
use crate::id::{Epoch, Incarnation, Ino, PairId, ServerId, SessionId};
use crate::name::FileName;
use crate::pair::{Pair, Space};
use crate::time::Time;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// One change with what makes it exactly-once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Whose change it is.
    pub session: SessionId,
    /// Its number in the session, from 1, never used for another change. 0 only in [`SessionId::CLUSTER`], whose
    /// changes are safe to apply twice.
    pub seq: u64,
    /// The session has the outcome of every number below this one: they need not be kept.
    pub done_below: u64,
    /// The time of day that the change stamps.
    pub now: Time,
    /// What to change.
    pub change: Change,
}

/// What a log entry says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Nothing; the first entry of each leader.
    Noop,
    /// Changes, applied one after the other, each with its own outcome.
    Batch(Vec<Request>),
    /// Power was lost, and entries that were agreed may be lost with it: the first entry of a leader that was elected all
    /// the same. A new generation begins; what mount sessions know is of an old one, and nothing of them is taken any more.
    Recovered,
}

/// A change of the namespace. Permissions are checked by the client's kernel; everything that keeps the tree a tree
/// is checked here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Opens the mount session that the request names. Refused with [`FsError::Busy`] while another is open, unless
    /// `takeover`, which ends the other first. Outcome: [`Done::Session`].
    OpenSession {
        /// Who mounts, for messages: host, pid, mount point.
        holder: String,
        /// End the session that is open.
        takeover: bool,
    },
    /// Ends a session; its orphans die.
    EndSession {
        /// Which one.
        session: SessionId,
    },
    /// Grants the session more inode numbers. Outcome: [`Done::Session`].
    GrantInos,
    /// Makes an inode of any kind and its first name. [`FsError::Exists`] if the name is taken.
    Make {
        /// In this directory.
        parent: Ino,
        /// Under this name.
        name: FileName,
        /// Its number: one of those granted to the session, not used before.
        ino: Ino,
        /// What it is.
        kind: FileKind,
        /// Permission bits, the umask taken off already.
        perm: u16,
        /// Owner.
        uid: u32,
        /// Group; a set-gid parent's is taken by the client.
        gid: u32,
        /// Device number of a device.
        rdev: u32,
        /// Target of a symbolic link, else empty.
        target: Bytes,
        /// Extended attributes that it is born with: the access control lists that it inherits, which the client works
        /// out along with the permission bits ([`crate::acl::inherit`]), as it does with the group. They must fit the bits.
        xattrs: Vec<(Bytes, Bytes)>,
    },
    /// One more name for an inode that is not a directory.
    Link {
        /// The inode.
        ino: Ino,
        /// In this directory.
        parent: Ino,
        /// Under this name.
        name: FileName,
    },
    /// Takes a name of a non-directory away.
    Unlink {
        /// In this directory.
        parent: Ino,
        /// This name.
        name: FileName,
        /// The session holds the inode open: should this have been its last name, it lives on as the session's
        /// orphan until [`Change::Release`].
        keep: bool,
    },
    /// Takes an empty directory away.
    Rmdir {
        /// In this directory.
        parent: Ino,
        /// This name.
        name: FileName,
        /// As in [`Change::Unlink`].
        keep: bool,
    },
    /// Moves a name.
    Rename {
        /// From this directory,
        parent: Ino,
        /// this name,
        name: FileName,
        /// to this directory,
        new_parent: Ino,
        /// under this name.
        new_name: FileName,
        /// What to do with a name that is there.
        mode: RenameMode,
        /// The session holds the replaced inode open; as in [`Change::Unlink`].
        keep: bool,
    },
    /// Sets attributes. ctime is set to the request's time. Permission bits change an access control list, too.
    SetAttr {
        /// Of this inode.
        ino: Ino,
        /// What to set.
        set: SetAttr,
    },
    /// Bytes were written: the file may be longer, its times and blocks changed. Void if the file was cut since. The
    /// request's time is when they were written: ctime follows it.
    Wrote {
        /// The file.
        ino: Ino,
        /// The cut generation that the writer knew.
        cut_gen: u32,
        /// The file is at least this long.
        size: u64,
        /// Blocks that came (or, by punching, went).
        blocks: i64,
        /// Its mtime: when it was last written, or what that was set to since.
        mtime: Time,
    },
    /// Sets an extended attribute. An access control list must be well-formed, changes the permission bits, and is not
    /// kept if they say as much ([`crate::acl`]).
    SetXattr {
        /// Of this inode.
        ino: Ino,
        /// Its whole name, with the `user.` or other prefix.
        name: Bytes,
        /// Its value.
        value: Bytes,
        /// Whether it may, must or must not be there already.
        mode: XattrMode,
        /// Permission bits of which the uppermost three (set-id and sticky) are set along with it: the set-gid bit goes
        /// if somebody sets an access control list who may not keep it. The list itself changes the others.
        perm: Option<u16>,
    },
    /// Takes an extended attribute away. That of an access control list that is not there changes nothing.
    RemoveXattr {
        /// Of this inode.
        ino: Ino,
        /// Its whole name.
        name: Bytes,
    },
    /// The session has closed these orphans: they die.
    Release {
        /// The orphans.
        inos: Vec<Ino>,
    },
    /// The cluster's word about a pair; refused if the pair has another epoch than the one it is about.
    Pair {
        /// The pair.
        pair: PairId,
        /// The epoch that this is about.
        epoch: Epoch,
        /// What happened.
        event: PairEvent,
    },
    /// What the disks of the pairs hold.
    Space {
        /// By pair, the fuller disk's.
        pairs: Vec<(PairId, Space)>,
    },
    /// Lengths found on the servers after a session died; applied like [`Change::Wrote`] without a time.
    RecoverSizes {
        /// File, cut generation, least size.
        sizes: Vec<(Ino, u32, u64)>,
    },
    /// Which life of the witness is known, or that its data directory is barred; refused unless `from` is what was known.
    Witness {
        /// What was known; 0: nothing.
        from: Incarnation,
        /// What is known now.
        to: Incarnation,
    },
    /// Both servers of a pair are gone for good: marks what is lost with them, for the next inodes in order, as many as
    /// one entry is good for. What was marked under another epoch of the pair begins anew. Refused once all are marked.
    MarkLost {
        /// The pair.
        pair: PairId,
        /// The epoch that this is about.
        epoch: Epoch,
    },
    /// That loss is accepted: the pair goes on without what is marked, with other data directories than the known ones,
    /// and no copy of it is in sync until one of them says that it is. Refused unless all is marked, and these are the known.
    AcceptLoss {
        /// The pair.
        pair: PairId,
        /// The epoch that this is about.
        epoch: Epoch,
        /// Its servers with the data directories that are given up, in the lives that are known of them.
        known: [(ServerId, Incarnation); 2],
    },
}

impl Change {
    /// Whether the entry that carries this change takes effect only once it is on stable storage on a quorum, in relaxed
    /// mode too: a power cut must not undo who is in sync, who mounts, or which inode numbers were given away.
    pub fn must_sync(&self) -> bool {
        match self {
            Change::OpenSession { .. }
            | Change::EndSession { .. }
            | Change::GrantInos
            | Change::Pair { .. }
            | Change::Witness { .. }
            | Change::MarkLost { .. }
            | Change::AcceptLoss { .. } => true,
            Change::Make { .. }
            | Change::Link { .. }
            | Change::Unlink { .. }
            | Change::Rmdir { .. }
            | Change::Rename { .. }
            | Change::SetAttr { .. }
            | Change::Wrote { .. }
            | Change::SetXattr { .. }
            | Change::RemoveXattr { .. }
            | Change::Release { .. }
            | Change::Space { .. }
            | Change::RecoverSizes { .. } => false,
        }
    }
}

/// What an entry says about a voter's data directory. Whether it is taken, the namespace decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LifeSaid {
    /// This life takes part.
    Lives(Incarnation),
    /// The data directory of which this life was known is not taken any more, in whatever life of it.
    GivenUp(Incarnation),
}

impl LifeSaid {
    /// What is known if it is taken.
    pub fn known_after(self) -> Incarnation {
        match self {
            LifeSaid::Lives(life) => life,
            LifeSaid::GivenUp(known) => known.barred(),
        }
    }

    /// The same for who cannot tell whether it is taken, where `known` is what is known before; None: nothing changes. Giving
    /// up is of no effect if the server has started meanwhile: a life behind the one that is known is not what was meant.
    pub fn follows(self, known: Incarnation) -> Option<Incarnation> {
        match self {
            LifeSaid::Lives(life) => (life.life() > 0 && known.admits(life)).then_some(life),
            // Said of who was given up before, and has not come with another directory since.
            LifeSaid::GivenUp(given) if given == known && known != Incarnation(0) && known.life() == 0 => Some(known),
            LifeSaid::GivenUp(given) => {
                let is_known = known.life() > 0 && given.directory() == known.directory();
                // Without a life: of the log of an older version.
                let is_meant = given.life() == 0 || given.life() >= known.life();
                (is_known && is_meant).then(|| known.barred())
            }
        }
    }
}

impl Command {
    /// Reads an entry of the log. One without data is the first of a leader.
    pub fn of(data: &[u8]) -> Result<Command, crate::codec::Malformed> {
        if data.is_empty() { Ok(Command::Noop) } else { crate::codec::decode(data) }
    }

    /// Whether any of its changes must be synced first.
    pub fn must_sync(&self) -> bool {
        match self {
            Command::Noop => false,
            Command::Recovered => true,
            Command::Batch(requests) => requests.iter().any(|request| request.change.must_sync()),
        }
    }

    /// What it says about the lives and data directories of voters, in order: by change, each of which is taken as a whole or
    /// not at all.
    pub fn lives(&self) -> Vec<Vec<(ServerId, LifeSaid)>> {
        use LifeSaid::{GivenUp, Lives};
        let Command::Batch(requests) = self else { return Vec::new() };
        let lives = |request: &Request| match request.change {
            Change::Pair { event: PairEvent::Hello { server, incarnation, .. }, .. } => {
                vec![(server, Lives(incarnation))]
            }
            Change::Pair { event: PairEvent::Replace { server, known }, .. } => vec![(server, GivenUp(known))],
            Change::Witness { from, to } if to.life() == 0 => vec![(ServerId::WITNESS, GivenUp(from))],
            Change::Witness { to, .. } => vec![(ServerId::WITNESS, Lives(to))],
            Change::AcceptLoss { known, .. } => known.map(|(server, known)| (server, GivenUp(known))).to_vec(),
            _ => Vec::new(),
        };
        requests.iter().filter(|request| request.session == SessionId::CLUSTER).map(lives).collect()
    }
}

/// What happened to a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PairEvent {
    /// `server` is not to be relied on. Refused if it is the last copy in sync.
    Evict {
        /// Which one.
        server: ServerId,
    },
    /// `server` has started. It is stale, unless it was the last in sync, or its mirror is in sync by name only
    /// (`mirror_up` is false) and this server's machine did not go down: then it serves alone.
    Hello {
        /// Which one.
        server: ServerId,
        /// Its new life.
        incarnation: Incarnation,
        /// The leader hears its mirror.
        mirror_up: bool,
        /// What it had acknowledged and not synced may be gone.
        lost: bool,
    },
    /// `server` receives changes from now on and is being caught up.
    Syncing {
        /// Which one.
        server: ServerId,
        /// Its life; refused if it is another by now.
        incarnation: Incarnation,
    },
    /// `server` has everything, durably.
    InSync {
        /// Which one.
        server: ServerId,
        /// Its life; refused if it is another by now.
        incarnation: Incarnation,
    },
    /// The data directory of `server`, which is stale, is gone for good: another may take its place. Refused unless it is
    /// the one that is known.
    Replace {
        /// Which one.
        server: ServerId,
        /// That data directory, in the life that is known of it. Logs of older versions have [`Incarnation::barred`] of it.
        known: Incarnation,
    },
    /// `server`, of a pair whose loss was accepted, has made lost what is marked as such, durably: its copy is the first.
    Begun {
        /// Which one.
        server: ServerId,
        /// Its life; refused if it is another by now.
        incarnation: Incarnation,
        /// How many marks had come late when it began with that; refused if there are more by now.
        late: u64,
    },
}

/// What [`Change::Rename`] does with a name that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RenameMode {
    /// Replaces it.
    Replace,
    /// Refuses ([`FsError::Exists`]).
    NoReplace,
    /// Gives it the name that is moved, in exchange.
    Exchange,
}

/// Whether an extended attribute may be there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum XattrMode {
    /// Either way.
    Any,
    /// Must not be ([`FsError::Exists`]).
    Create,
    /// Must be ([`FsError::NoData`]).
    Replace,
}

/// The attributes that [`Change::SetAttr`] sets; None leaves one as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetAttr {
    /// Permission bits.
    pub perm: Option<u16>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Length of a file, either way. mtime is set to the request's time, unless it is set here.
    pub size: Option<u64>,
    /// Last access.
    pub atime: Option<Time>,
    /// Last change of contents.
    pub mtime: Option<Time>,
}

/// How a change ended.
pub type Outcome = Result<Done, FsError>;

/// What a change that was made leaves behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Done {
    /// Nothing to tell.
    Nothing,
    /// The attributes of every inode that it touched, as they are now; first the one that it was about, the parents
    /// last. An inode with no links left is gone, or an orphan.
    Attrs(Vec<Attr>),
    /// A session is open; these inode numbers are its own, from the first up to but not including the second.
    Session {
        /// First of the numbers granted.
        from: Ino,
        /// One past the last.
        to: Ino,
    },
}

/// A question about the namespace; needs no log entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Query {
    /// Who has this name? [`Answer::Attr`] or [`FsError::NotFound`].
    Lookup {
        /// In this directory.
        parent: Ino,
        /// This name.
        name: FileName,
    },
    /// [`Answer::Attr`].
    GetAttr {
        /// Of this inode.
        ino: Ino,
    },
    /// [`Answer::Entries`]: the directory's entries whose cookie is above `after`, by cookie. Neither `.` nor `..`.
    ReadDir {
        /// The directory.
        ino: Ino,
        /// 0 from the start, else the last entry's cookie.
        after: u64,
        /// At most so many, and at most [`crate::limits::DIR_PAGE_ENTRIES`].
        limit: u32,
        /// Attributes too.
        attrs: bool,
    },
    /// [`Answer::Bytes`]: a symbolic link's target.
    ReadLink {
        /// The link.
        ino: Ino,
    },
    /// [`Answer::Xattrs`]: all of them.
    Xattrs {
        /// Of this inode.
        ino: Ino,
    },
    /// [`Answer::Totals`].
    Totals,
    /// [`Answer::Pairs`].
    Pairs,
    /// [`Answer::Bytes`]: the path of a directory from the root, for messages.
    PathOf {
        /// The directory.
        ino: Ino,
    },
}

/// The answer to a [`Query`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// Attributes.
    Attr(Attr),
    /// A page of a directory; `end` says that nothing follows.
    Entries {
        /// The entries, by cookie.
        entries: Vec<Entry>,
        /// Whether this was the last page.
        end: bool,
        /// The cookie that the directory's next new entry gets: all that are there now have lower ones.
        next_cookie: u64,
    },
    /// Bytes.
    Bytes(Bytes),
    /// Names and values.
    Xattrs(Vec<(Bytes, Bytes)>),
    /// Inodes in all, and the pairs' space.
    Totals {
        /// Inodes.
        inodes: u64,
        /// By pair.
        space: Vec<Space>,
    },
    /// The pairs.
    Pairs(Vec<Pair>),
}

/// A directory entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its name.
    pub name: FileName,
    /// The inode.
    pub ino: Ino,
    /// What that is.
    pub kind: FileKind,
    /// Where it stands in its directory, from 1: given once, growing, so that a reader never sees an entry twice
    /// and misses none that stays.
    pub cookie: u64,
    /// Its attributes, if they were asked for.
    pub attr: Option<Attr>,
}

/// The answer to a query.
pub type Reply = Result<Answer, FsError>;
