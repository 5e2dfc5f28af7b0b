//! The witness: a voter and nothing else.

use crate::consensus::keep::Keep;
use crate::consensus::log::LogStore;
use crate::consensus::node::{Fatal, Node};
use crate::identity::DataDir;
use crate::joining;
use crate::machine::witness::WitnessMachine;
use crate::peers::{Peers, next_gone};
use crate::serve::listen::{self, Guest};
use crate::serve::peer::{Deaf, PeerServer};
use crate::serve::witness::{WitnessAdmin, WitnessNode};
use crate::serve_guest;
use crate::server::{Ended, cannot, keep_of_log, open_log, setup, started, suspect_log};
use crate::stop::Stop;
use crate::transport::PeerTransport;
use raidfs_common::config::Config;
use raidfs_common::rpc::admin::AdminService;
use raidfs_common::rpc::peer::PeerService;
use raidfs_common::rpc::{Service, Speaker};
use raidfs_common::stream::{Listener, Port};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

const SYNC_EVERY: Duration = raidfs_common::limits::LOG_SYNC_EVERY;

/// Runs the witness until it is told to stop, or its log fails.
pub async fn run(config: Config, home: &DataDir, port: impl Into<Port>, stop: Arc<Stop>) -> Result<(), Ended> {
    let (me, life) = (home.identity().server, home.life());
    let listener = Listener::new(port.into()).map_err(cannot("use the port"))?;
    let (log, opened) = open_log(home)?;
    let doubtful = life.power_lost || opened.cut;
    if doubtful {
        home.distrust().map_err(cannot("note that entries may be missing"))?;
    }
    let machine =
        WitnessMachine::open(log.base(), &home.lives()).map_err(cannot("open the record of data directories"))?;
    let machine = Arc::new(machine);
    let peers = Peers::new(&config, me);
    peers.watch_lives();
    let transport = Arc::new(PeerTransport { peers: peers.clone(), me });
    let setup = setup(&config, me, life, &log, doubtful);
    let node = Node::start(setup, log, machine.clone(), transport);
    let (joined, voters, others) = (Arc::new(AtomicBool::new(false)), config.voters(), peers.clone());
    let began = Instant::now();
    tokio::spawn(keep_log(node.clone(), machine, keep_of_log(home)));
    let (gone, mut events) = (node.clone(), peers.subscribe());
    tokio::spawn(async move {
        while let Some(peer) = next_gone(&mut events).await {
            gone.on_gone(peer);
        }
    });
    let (server, ender, known) = (node.clone(), stop.clone(), joined.clone());
    let hand_over = move |guest: Guest| {
        let (node, stop, peers) = (server.clone(), ender.clone(), peers.clone());
        let (incarnation, joined) = (life.incarnation, known.clone());
        tokio::spawn(async move {
            let Guest { stream, service, speaker, place, room } = guest;
            match service {
                Service::Peer => {
                    let service = PeerServer { node: node.clone(), hears: Deaf, incarnation };
                    let once_closed = async move {
                        if let Speaker::Server(peer) = speaker
                            && peers.probe(peer).await
                        {
                            node.on_gone(peer);
                        }
                    };
                    serve_guest!(stream, place, room, service.serve(), once_closed);
                }
                Service::Admin => {
                    let service = WitnessAdmin { node, incarnation, started: began, joined, stop };
                    serve_guest!(stream, place, room, service.serve());
                }
                Service::Names | Service::Chunks | Service::Direct | Service::Life => {}
            }
        });
    };
    tokio::spawn(listen::run(listener, config, me, hand_over));
    tracing::info!("the witness is up");
    tokio::select! {
        ended = until_end(&node, home, began, stop) => ended,
        () = joining::ask(&others, &voters, (me, started(life)), &node, &joined) => {
            Err(Ended::Refused(joining::refusal(me, home.root(), life.empty)))
        }
    }
}

/// Waits for the end, and brings it about in order; of a witness that began then.
async fn until_end(node: &Arc<WitnessNode>, home: &DataDir, began: Instant, stop: Arc<Stop>) -> Result<(), Ended> {
    let mut fatal = node.watch_fatal();
    let mut status = node.watch();
    let trusted = async {
        if status.wait_for(|s| !s.doubtful).await.is_ok()
            && let Err(error) = home.trust().and_then(|()| home.fill())
        {
            return cannot("note that nothing is missing")(error);
        }
        std::future::pending().await
    };
    let failed = tokio::select! {
        () = stop.asked() => None,
        reason = fatal.wait_for(Option::is_some) => reason.ok().and_then(|r| r.clone()),
        failed = trusted => return Err(failed),
    };
    match failed {
        None => {}
        Some(Fatal::Broken(reason)) => return Err(Ended::Failed(reason)),
        Some(Fatal::NoRoom(reason)) if node.is_in_doubt() => return Err(Ended::Failed(reason)),
        Some(Fatal::NoRoom(reason)) => return Err(Ended::NoRoom(reason)),
        Some(Fatal::Damaged(reason)) => return Err(suspect_log(node.status().doubtful, began.elapsed(), reason)),
        Some(Fatal::OtherHistory(reason)) => {
            tracing::warn!("{reason}: the log here is dropped, and fetched anew");
            home.distrust().map_err(cannot("note that the log is dropped"))?;
            node.forget_log().map_err(cannot("empty the log"))?;
            return Err(Ended::Anew(reason));
        }
    }
    tracing::info!("the witness stops");
    // What it acknowledged behind its last sync the next life would be trusted to have.
    node.stop();
    if node.sync_all().await && node.is_durable() {
        Ok(())
    } else {
        Err(Ended::Failed("the log could not be synced in time".into()))
    }
}

/// Syncs the log now and then, and drops what enough servers have durably applied (rule 18).
async fn keep_log(node: Arc<WitnessNode>, machine: Arc<WitnessMachine>, keep: Keep) {
    loop {
        tokio::time::sleep(SYNC_EVERY).await;
        node.sync_soon();
        // What the entries say about data directories must outlive them.
        let keeper = machine.clone();
        if !tokio::task::spawn_blocking(move || keeper.keep()).await.is_ok_and(|kept| kept.is_ok()) {
            continue;
        }
        node.purge(node.status().spare, keep);
    }
}
