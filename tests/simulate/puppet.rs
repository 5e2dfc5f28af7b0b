//! Clients that do what a scene tells them, one thing after the other or several at once.

use super::clients::{self, address, make, tell_size, time, values_of, write_of};
use super::network::Host;
use super::world::{self, Life, world};
use raidfs_common::attr::{Attr, FileKind};
use raidfs_common::config::Config;
use raidfs_common::error::FsError;
use raidfs_common::id::{Ino, ServerId};
use raidfs_common::name::FileName;
use raidfs_common::namespace::{Answer, Change, Done, Outcome, Query};
use raidfs_common::pair::{Pair, place};
use raidfs_mountd::cluster::ClusterClient;
use raidfs_mountd::vfs::cluster::Cluster;
use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

/// What a scene relies on has come about by then.
pub const PATIENCE: Duration = Duration::from_secs(60);

type Job = Box<dyn FnOnce(Arc<ClusterClient>) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// What a scene relies on is not so: it shows nothing. Ends the process.
pub fn unfit(what: &str) -> ! {
    println!("UNFIT  {what}");
    world::end(2)
}

/// Something that was begun.
pub struct Pending<T>(mpsc::Receiver<T>);

impl<T> Pending<T> {
    /// What came of it, as soon as it has ended; None: it has not by then.
    pub fn within(&self, patience: Duration) -> Option<T> {
        self.0.recv_timeout(patience).ok()
    }

    /// The same of something that must end.
    pub fn end(self) -> T {
        self.within(PATIENCE).unwrap_or_else(|| unfit("what was begun has not ended"))
    }
}

impl<T> Pending<Result<T, FsError>> {
    /// The same of something that must go well.
    pub fn well(self) -> T {
        self.end().unwrap_or_else(|error| unfit(&format!("what should have gone well ended with: {error}")))
    }
}

/// A client on a host of its own.
pub struct Puppet {
    life: Life,
    jobs: UnboundedSender<Job>,
}

/// A file, its pair's servers, and which of them orders its changes.
#[derive(Clone, Copy, Debug)]
pub struct File {
    /// What the names have of it.
    pub attr: Attr,
    /// The primary, while both are in sync.
    pub primary: ServerId,
    /// Its mirror.
    pub mirror: ServerId,
}

impl File {
    /// What lies where, of a file that has been made.
    pub fn of(attr: Attr) -> File {
        let at = place(attr.placement, 0, 2);
        let servers = [ServerId(at.pair.0 * 2 + 1), ServerId(at.pair.0 * 2 + 2)];
        let turn = usize::from(at.turn & 1);
        File { attr, primary: servers[turn], mirror: servers[1 - turn] }
    }

    /// The two.
    pub fn servers(&self) -> [ServerId; 2] {
        [self.primary, self.mirror]
    }
}

impl Puppet {
    /// A client with the mount session, which it takes over if somebody has it.
    pub fn mount(config: &Config, host: Host) -> Puppet {
        let (config, name) = (config.clone(), format!("host {host}"));
        Puppet::start(host, move || async move {
            loop {
                match ClusterClient::connect(&config, name.clone(), true).await {
                    Ok(client) => return client,
                    Err(error) => tracing::info!("not mounted yet: {error}"),
                }
            }
        })
    }

    /// A client that only looks.
    pub fn observe(config: &Config, host: Host) -> Puppet {
        let config = config.clone();
        Puppet::start(host, move || async move { ClusterClient::observe(&config).await })
    }

    fn start<F: Future<Output = Arc<ClusterClient>>>(
        host: Host,
        connect: impl FnOnce() -> F + Send + 'static,
    ) -> Puppet {
        let (jobs, mut todo) = unbounded_channel::<Job>();
        let (up, is_up) = mpsc::channel();
        let (life, _) = clients::live_on_host(host, move || async move {
            let client = connect().await;
            let _ = up.send(());
            while let Some(job) = todo.recv().await {
                tokio::spawn(job(client.clone()));
            }
        });
        Pending(is_up).end();
        Puppet { life, jobs }
    }

    /// Its process does nothing for now.
    pub fn freeze(&self) {
        world().freeze(self.life);
    }

    /// It goes on.
    pub fn thaw(&self) {
        world().thaw(self.life);
    }

    /// It begins to do something.
    pub fn begin<T, F>(&self, job: impl FnOnce(Arc<ClusterClient>) -> F + Send + 'static) -> Pending<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let (told, answer) = mpsc::channel();
        let job: Job = Box::new(move |client| {
            let work = job(client);
            Box::pin(async move { drop(told.send(work.await)) })
        });
        let _ = self.jobs.send(job);
        Pending(answer)
    }

    /// Makes a change of names.
    pub fn change(&self, change: Change) -> Pending<Outcome> {
        self.begin(|client| async move { client.change(vec![(time(), change)]).await.remove(0) })
    }

    /// Makes an empty file in the root directory.
    pub fn create(&self, name: &'static str) -> Pending<Result<Attr, FsError>> {
        self.begin(move |client| async move { create(&client, name).await })
    }

    /// Makes a file in the root directory that lies on a pair of which `wanted` is told the primary and the mirror.
    pub fn file(&self, wanted: impl Fn(ServerId, ServerId) -> bool) -> File {
        const NAMES: [&str; 24] = [
            "f0", "f1", "f2", "f3", "f4", "f5", "f6", "f7", "f8", "f9", "f10", "f11", "f12", "f13", "f14", "f15",
            "f16", "f17", "f18", "f19", "f20", "f21", "f22", "f23",
        ];
        let made = NAMES.iter().filter_map(|name| match self.create(name).end() {
            Err(FsError::Exists) => None,
            made => Some(made.unwrap_or_else(|error| unfit(&format!("a file cannot be made: {error}")))),
        });
        let mut fitting = made.map(File::of).filter(|file| wanted(file.primary, file.mirror));
        fitting.next().unwrap_or_else(|| unfit("no file lies where it should"))
    }

    /// What is under a name.
    pub fn look_up(&self, name: &'static str) -> Pending<Result<Option<Attr>, FsError>> {
        self.begin(move |client| async move {
            client.catch_up().await;
            let name = FileName::new(name.as_bytes().to_vec()).map_err(|_| FsError::Invalid)?;
            match client.ask(Query::Lookup { parent: Ino::ROOT, name }).await {
                Ok(Answer::Attr(attr)) => Ok(Some(attr)),
                Err(FsError::NotFound) => Ok(None),
                Ok(_) => Err(FsError::Invalid),
                Err(error) => Err(error),
            }
        })
    }

    /// Writes a value to a file.
    pub fn write(&self, file: &File, value: u64) -> Pending<Result<(), FsError>> {
        let attr = file.attr;
        self.begin(move |client| async move {
            let changed = client.change_chunk(address(&attr), write_of(value, false)).await?;
            tell_size(&client, &attr, changed.blocks).await
        })
    }

    /// Writes a value to a file, and does not tell the names.
    pub fn write_only(&self, file: &File, value: u64) -> Pending<Result<(), FsError>> {
        let attr = file.attr;
        self.begin(
            move |client| async move { client.change_chunk(address(&attr), write_of(value, false)).await.map(drop) },
        )
    }

    /// Reads the values of a file.
    pub fn read(&self, file: &File) -> Pending<Result<BTreeSet<u64>, FsError>> {
        let attr = file.attr;
        self.begin(move |client| async move { values_of(&client, &attr).await })
    }

    /// Makes what was written to a file durable.
    pub fn sync(&self, file: &File) -> Pending<Result<(), FsError>> {
        let attr = file.attr;
        self.begin(move |client| async move { client.sync_chunks(vec![address(&attr)]).await })
    }

    /// Makes all changes of names durable.
    pub fn barrier(&self) -> Pending<Result<(), FsError>> {
        self.begin(|client| async move { client.barrier().await })
    }

    /// Waits until what is known of the pairs is so.
    pub fn pairs(&self, wanted: impl Fn(&[Pair]) -> bool + Send + 'static) -> Pending<()> {
        self.begin(|client| async move {
            while !wanted(&client.pairs()) {
                clients::pause(2_000).await;
            }
        })
    }
}

async fn create(client: &ClusterClient, name: &str) -> Result<Attr, FsError> {
    let made = client.change(vec![(time(), make(client, name).await?)]).await.remove(0)?;
    let Done::Attrs(attrs) = made else { return Err(FsError::Invalid) };
    attrs.iter().find(|attr| attr.kind == FileKind::File).copied().ok_or(FsError::Invalid)
}
