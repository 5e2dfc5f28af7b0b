//! How much of what others ask this server keeps: for clients, for the other servers' chunks, and for agreement, each apart,
//! so that none of these waits for another. `common/src/budget.rs` says how much each connection gets.

use super::places::Place;
use raidfs_common::budget::CLIENT_HEADER_WEIGHT;
use raidfs_common::limits::{CLIENTS_BYTES_MAX, SERVERS_BYTES_MAX};
use raidfs_common::room::{Account, Held, Pool};
use raidfs_common::rpc::{Asks, Service, Speaker};
use std::sync::Arc;
use tarpc::ServerError;
use tarpc::context::Context;
use tarpc::server::Serve;

/// The room of one port.
#[derive(Clone, Debug)]
pub struct Bounds {
    clients: Arc<Pool>,
    servers: Arc<Pool>,
    agreement: Arc<Pool>,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds {
            clients: Pool::new(CLIENTS_BYTES_MAX, CLIENT_HEADER_WEIGHT),
            servers: Pool::new(SERVERS_BYTES_MAX, 1),
            agreement: Pool::new(SERVERS_BYTES_MAX, 1),
        }
    }
}

impl Bounds {
    /// For a connection that was welcomed.
    pub fn account(&self, speaker: Speaker, service: Service, place: &Place) -> Arc<Account> {
        let end = place.end();
        match (speaker, service) {
            (Speaker::Client | Speaker::ClientByWay, _) => self.clients.account(end),
            (Speaker::Server(_), Service::Peer) => self.agreement.account(end),
            (Speaker::Server(_), _) => self.servers.account(end),
        }
    }

    /// Bytes that are held beyond what each connection has to itself.
    pub fn held(&self) -> usize {
        [&self.clients, &self.servers, &self.agreement].map(|pool| pool.held()).into_iter().sum()
    }

    /// Has those end that do not go on, for ever.
    pub async fn watch(self) {
        tokio::join!(self.clients.watch(), self.servers.watch(), self.agreement.watch());
    }
}

/// A service whose requests hold room until they were answered; who asks for much waits until there is room for the answer.
#[derive(Clone, Debug)]
pub struct Holding<S>(pub S);

impl<S> Serve for Holding<S>
where
    S: Serve,
    S::Req: Asks,
{
    type Req = Held<S::Req>;
    type Resp = Held<S::Resp>;

    async fn serve(self, context: Context, request: Held<S::Req>) -> Result<Held<S::Resp>, ServerError> {
        let Held { value, hold } = request;
        let hold = match (hold, value.answer_bytes()) {
            (Some(hold), more @ 1..) => Some(hold.enlarged(more).await),
            (hold, _) => hold,
        };
        let value = self.0.serve(context, value).await?;
        Ok(Held { value, hold })
    }
}
