//! One connection's bytes: TCP, or a Unix socket where both ends name each other by a loopback address. Such a pair is on
//! one machine, where a Unix socket carries a message for about half of the processor time.
//!
//! Beside its port a server listens on an abstract Unix socket that is named by the same address. Abstract names belong to
//! a network namespace, as addresses do, so the two always lead to the same server; where nobody listens there (or not yet),
//! TCP is used. Anybody may take such a name while the server is down: a caller speaks there only with root's processes
//! and its own user's, and with everybody else over TCP.
//!
//! A simulation of a whole cluster puts a network of its own in the place of the machine's ([`invent`]); no program does.

use futures::future::BoxFuture;
use socket2::{SockRef, TcpKeepalive};
use std::ffi::OsStr;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::SocketAddr as UnixAddr;
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};

/// Bytes that a Unix socket takes before its sender waits for the other end.
const SEND_BUFFER_BYTES: libc::c_int = 2 << 20;
/// Whoever has a server's name is asked for so long who it is.
const ASK_PATIENCE: Duration = Duration::from_secs(1);
/// A connection that has been quiet for so long is asked whether the other end is there,
const ALIVE_AFTER: Duration = Duration::from_secs(20);
/// so often,
const ALIVE_EVERY: Duration = Duration::from_secs(5);
/// and so many times in vain before it is given up.
const ALIVE_TRIES: u32 = 4;

/// A connection.
#[derive(Debug)]
pub enum Stream {
    /// Over the network.
    Tcp(TcpStream),
    /// Within this machine.
    Unix(UnixStream),
    /// Over an invented network.
    Invented(Box<dyn Duplex>),
}

/// One end of a connection of an invented network.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Sync + Unpin + std::fmt::Debug {}

/// A network in the place of the machine's own.
pub trait Network: Send + Sync {
    /// Connects to whoever listens at an address.
    fn connect(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Duplex>>>;
}

/// A port of an invented network.
pub trait Entrance: Send + Sync + std::fmt::Debug {
    /// The next connection, and the address that it comes from.
    fn accept(&self) -> BoxFuture<'_, io::Result<(Box<dyn Duplex>, SocketAddr)>>;
}

static INVENTED: OnceLock<Box<dyn Network>> = OnceLock::new();

/// From now on every connection of this process is made over `network`. False: there is one already.
pub fn invent(network: Box<dyn Network>) -> bool {
    INVENTED.set(network).is_ok()
}

/// Whether connections are made over an invented network.
pub fn is_invented() -> bool {
    INVENTED.get().is_some()
}

/// A connection that is on its way to another runtime.
#[derive(Debug)]
pub enum Moving {
    /// Over the network.
    Tcp(std::net::TcpStream),
    /// Within this machine.
    Unix(std::os::unix::net::UnixStream),
    /// Over an invented network.
    Invented(Box<dyn Duplex>),
}

/// The name of a server's Unix socket.
fn local_name(address: SocketAddr) -> io::Result<UnixAddr> {
    UnixAddr::from_abstract_name(format!("raidfs/{address}"))
}

impl Stream {
    /// Connects to a server.
    pub async fn connect(address: SocketAddr) -> io::Result<Stream> {
        if let Some(network) = INVENTED.get() {
            return network.connect(address).await.map(Stream::Invented);
        }
        if address.ip().is_loopback()
            && let Ok(stream) = connect_here(address).await
        {
            return Ok(Stream::Unix(stream));
        }
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // Should the kernel have it come from the port of a server, that one can listen there all the same.
        socket.set_reuseaddr(true)?;
        not_to_itself(socket.connect(address).await?).map(Stream::from)
    }

    /// Takes it off this runtime; [`Moving::arrive`] puts it on another.
    pub fn leave(self) -> io::Result<Moving> {
        match self {
            Stream::Tcp(stream) => stream.into_std().map(Moving::Tcp),
            Stream::Unix(stream) => stream.into_std().map(Moving::Unix),
            Stream::Invented(stream) => Ok(Moving::Invented(stream)),
        }
    }

    /// Who is at the other end, for messages: without its port, so that it is the same at each try.
    pub fn peer(&self) -> String {
        match self {
            Stream::Tcp(stream) => {
                stream.peer_addr().map_or_else(|_| "somebody".to_owned(), |peer| peer.ip().to_string())
            }
            Stream::Unix(_) => "a process of this machine".to_owned(),
            Stream::Invented(_) => "a process of the simulation".to_owned(),
        }
    }
}

impl Moving {
    /// Puts it on the runtime that this is called on.
    pub fn arrive(self) -> io::Result<Stream> {
        match self {
            Moving::Tcp(stream) => TcpStream::from_std(stream).map(Stream::Tcp),
            Moving::Unix(stream) => UnixStream::from_std(stream).map(Stream::Unix),
            Moving::Invented(stream) => Ok(Stream::Invented(stream)),
        }
    }
}

/// Who connects to a port where nobody listens may be given that very port to come from, and is connected to itself (RFC 9293,
/// section 3.5, simultaneous open): to nobody, and the port is taken when somebody wants to listen there.
fn not_to_itself(stream: TcpStream) -> io::Result<TcpStream> {
    if stream.local_addr()? != stream.peer_addr()? {
        return Ok(stream);
    }
    // Reset, so that nothing waits at that port for a minute.
    SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    Err(io::ErrorKind::ConnectionRefused.into())
}

async fn connect_to_name(address: SocketAddr) -> io::Result<UnixStream> {
    let name = [b"\0", local_name(address)?.as_abstract_name().unwrap_or_default()].concat();
    UnixStream::connect(OsStr::from_bytes(&name)).await
}

async fn connect_here(address: SocketAddr) -> io::Result<UnixStream> {
    let stream = connect_to_name(address).await?;
    if !is_trusted(stream.peer_cred()?.uid(), me()) {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    make_room(&stream);
    Ok(stream)
}

/// Whether a process of user `uid` is taken for a server by one of user `me`.
fn is_trusted(uid: libc::uid_t, me: libc::uid_t) -> bool {
    uid == 0 || uid == me
}

fn me() -> libc::uid_t {
    // SAFETY: geteuid cannot fail and touches nothing.
    unsafe { libc::geteuid() }
}

/// Gives what is sent the room that TCP would give it: by default a megabyte would take five turns of both ends.
fn make_room(stream: &UnixStream) {
    let bytes: libc::c_int = SEND_BUFFER_BYTES;
    // Beyond the administrator's limit only root gets it; anybody else gets the limit.
    for option in [libc::SO_SNDBUFFORCE, libc::SO_SNDBUF] {
        // SAFETY: the descriptor is open, and the option's value an integer that lives until the call has returned.
        let set = unsafe {
            let value = (&raw const bytes).cast();
            libc::setsockopt(
                stream.as_raw_fd(),
                libc::SOL_SOCKET,
                option,
                value,
                size_of_val(&bytes) as libc::socklen_t,
            )
        };
        if set == 0 {
            return;
        }
    }
}

/// Has the kernel find out that the other end's machine is gone, or cut off: who has nothing to send would never know, and
/// the connection keep its place for ever.
fn keep_alive(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    let probes = TcpKeepalive::new().with_time(ALIVE_AFTER).with_interval(ALIVE_EVERY).with_retries(ALIVE_TRIES);
    let _ = socket.set_tcp_keepalive(&probes);
    let _ = socket.set_tcp_user_timeout(Some(ALIVE_AFTER + ALIVE_EVERY * ALIVE_TRIES));
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Stream {
        // Small messages must not wait for more; a connection that is broken already says so when it is used.
        let _ = stream.set_nodelay(true);
        keep_alive(&stream);
        Stream::Tcp(stream)
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Invented(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Invented(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Stream::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Stream::Invented(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Invented(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Invented(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// A port that is bound, and not listened at yet.
#[derive(Debug)]
pub enum Port {
    /// Of this machine.
    Tcp(std::net::TcpListener),
    /// Of an invented network.
    Invented(Box<dyn Entrance>),
}

impl From<std::net::TcpListener> for Port {
    fn from(port: std::net::TcpListener) -> Port {
        Port::Tcp(port)
    }
}

/// A server's port.
#[derive(Debug)]
pub enum Listener {
    /// Of this machine, and the Unix socket beside it.
    Machine {
        /// The port.
        tcp: TcpListener,
        /// The socket.
        here: Option<UnixListener>,
        /// Whom those who come by the Unix socket are taken for.
        address: SocketAddr,
    },
    /// Of an invented network.
    Invented(Box<dyn Entrance>),
}

impl Listener {
    /// Listens at a port; beside it, where it is for this machine only.
    pub fn new(port: Port) -> io::Result<Listener> {
        let port = match port {
            Port::Tcp(port) => port,
            Port::Invented(entrance) => return Ok(Listener::Invented(entrance)),
        };
        port.set_nonblocking(true)?;
        let address = port.local_addr()?;
        let here = if address.ip().is_loopback() { listen_here(address) } else { None };
        Ok(Listener::Machine { tcp: TcpListener::from_std(port)?, here, address })
    }

    /// The next connection, and the address that it comes from.
    pub async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        let (tcp, here, address) = match self {
            Listener::Machine { tcp, here, address } => (tcp, here, *address),
            Listener::Invented(entrance) => {
                return entrance.accept().await.map(|(stream, peer)| (Stream::Invented(stream), peer));
            }
        };
        let beside = async {
            match here {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            accepted = tcp.accept() => accepted.map(|(stream, peer)| (stream.into(), peer)),
            accepted = beside => accepted.map(|(stream, _)| {
                make_room(&stream);
                (Stream::Unix(stream), address)
            }),
        }
    }
}

/// None: the name is taken, or such sockets are not to be had. The port is there for everybody.
fn listen_here(address: SocketAddr) -> Option<UnixListener> {
    let bound = local_name(address).and_then(|name| {
        let listener = std::os::unix::net::UnixListener::bind_addr(&name)?;
        listener.set_nonblocking(true)?;
        UnixListener::from_std(listener)
    });
    match bound {
        Ok(listener) => Some(listener),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            tokio::spawn(async move {
                let who = who_has_name(address).await;
                tracing::warn!(
                    "the Unix socket beside {address} is taken by {who}: this machine's programs come by the port"
                );
            });
            None
        }
        Err(error) => {
            tracing::debug!("no Unix socket beside {address}: {error}");
            None
        }
    }
}

/// Who listens on the Unix socket beside an address, in words.
async fn who_has_name(address: SocketAddr) -> String {
    let found = tokio::time::timeout(ASK_PATIENCE, connect_to_name(address)).await;
    let found = found.ok().and_then(|stream| stream.ok()?.peer_cred().ok());
    match found.map(|who| (who.uid(), who.pid())) {
        Some((uid, Some(pid))) => format!("process {pid} of user {uid}"),
        Some((uid, None)) => format!("a process of user {uid}"),
        None => "somebody who does not answer".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn speaks(mut one: Stream, mut other: Stream) {
        one.write_all(b"over").await.unwrap();
        let mut got = [0; 4];
        other.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"over");
        drop(one);
        assert_eq!(other.read(&mut got).await.unwrap(), 0, "the end is seen");
    }

    #[tokio::test]
    async fn who_is_on_this_machine_gets_a_unix_socket() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = port.local_addr().unwrap();
        let listener = Listener::new(port.into()).unwrap();
        let (client, accepted) = tokio::join!(Stream::connect(address), listener.accept());
        let (server, peer) = accepted.unwrap();
        assert!(matches!((&server, client.as_ref().unwrap()), (Stream::Unix(_), Stream::Unix(_))));
        assert!(peer.ip().is_loopback());
        let moved = server.leave().unwrap().arrive().unwrap();
        speaks(client.unwrap(), moved).await;
    }

    #[tokio::test]
    async fn where_only_a_port_listens_tcp_is_used() {
        let port = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (client, accepted) = tokio::join!(Stream::connect(port.local_addr().unwrap()), port.accept());
        let server = Stream::from(accepted.unwrap().0);
        for end in [client.as_ref().unwrap(), &server] {
            let Stream::Tcp(end) = end else { panic!("{end:?}") };
            assert!(SockRef::from(end).keepalive().unwrap(), "an end whose machine is gone would be kept for ever");
        }
        assert!(matches!(client, Ok(Stream::Tcp(_))));
        speaks(server.leave().unwrap().arrive().unwrap(), client.unwrap()).await;
    }

    #[tokio::test]
    async fn who_is_connected_to_itself_is_refused_and_leaves_the_port_free() {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local_addr().unwrap();
        let stream = socket.connect(address).await.unwrap();
        assert_eq!(not_to_itself(stream).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        std::net::TcpListener::bind(address).unwrap();
    }

    #[tokio::test]
    async fn where_nobody_listens_it_is_refused_at_once() {
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = Stream::connect(address).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[tokio::test]
    async fn a_name_that_is_taken_leaves_the_port() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = port.local_addr().unwrap();
        let taken = std::os::unix::net::UnixListener::bind_addr(&local_name(address).unwrap()).unwrap();
        let listener = Listener::new(port.into()).unwrap();
        assert!(matches!(listener, Listener::Machine { here: None, .. }));
        let who = who_has_name(address).await;
        assert_eq!(who, format!("process {} of user {}", std::process::id(), me()));
        drop(taken);
        let (client, accepted) = tokio::join!(Stream::connect(address), listener.accept());
        speaks(client.unwrap(), accepted.unwrap().0).await;
    }

    #[test]
    fn only_roots_processes_and_ones_own_are_taken_for_servers() {
        assert!(is_trusted(0, 7) && is_trusted(7, 7) && is_trusted(0, 0));
        assert!(!is_trusted(8, 7) && !is_trusted(8, 0));
    }

    #[tokio::test]
    async fn whoever_took_the_name_of_a_server_that_was_down_is_not_spoken_to() {
        const NOBODY: libc::uid_t = 65_534;
        if me() != 0 {
            return; // Only root can be somebody else.
        }
        let port = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = port.local_addr().unwrap();
        let taking = std::thread::spawn(move || {
            // SAFETY: the system call itself changes this thread only, which ends.
            assert_eq!(unsafe { libc::syscall(libc::SYS_setresuid, NOBODY, NOBODY, NOBODY) }, 0);
            std::os::unix::net::UnixListener::bind_addr(&local_name(address).unwrap()).unwrap()
        });
        let _taken = taking.join().unwrap();
        assert!(who_has_name(address).await.ends_with("of user 65534"));
        let (client, accepted) = tokio::join!(Stream::connect(address), port.accept());
        assert!(matches!(client, Ok(Stream::Tcp(_))));
        speaks(Stream::from(accepted.unwrap().0), client.unwrap()).await;
    }
}
