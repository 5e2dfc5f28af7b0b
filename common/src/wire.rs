//! tarpc over one connection: connecting, the first frame, and frames whose payload travels beside the encoded header.
//!
//! A frame is `header length: u32, payload length: u32` (little-endian), the header (bincode), the payload (the
//! [`crate::codec::Blob`]s of the message in order, never copied in user space). Lengths above the limits of
//! [`crate::limits`] end the connection.

use crate::codec;
use crate::complaints::Complaints;
use crate::limits::{FRAME_HEADER_MAX_BYTES, FRAME_PAYLOAD_MAX_BYTES, HELLO_MAX_BYTES, HELLO_TIMEOUT};
use crate::printed::printed;
use crate::room::{Account, Held, Hold, lasting};
use crate::rpc::{Hello, MAGIC, PROTOCOL_VERSION, Welcome};
use crate::stream::Stream as Connection;
use bytes::{Buf, Bytes, BytesMut};
use futures::{FutureExt, Sink, Stream};
use parking_lot::Mutex;
use serde::{Serialize, de::DeserializeOwned};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio_util::sync::PollSemaphore;

/// A tarpc transport that receives `In` and sends `Out`.
#[derive(Debug)]
pub struct Wire<In, Out> {
    stream: Connection,
    received: BytesMut,
    /// What is still to be written: headers and payloads in turn, each message's last piece with the room that it holds.
    outgoing: VecDeque<(Bytes, Option<Hold>)>,
    outgoing_bytes: usize,
    /// Dropped when the other end has gone.
    open: Option<oneshot::Sender<()>>,
    toll: Option<Toll<In, Out>>,
    types: PhantomData<fn(Out) -> In>,
}

/// How a server counts what it is sent, and what it answers.
struct Toll<In, Out> {
    account: Arc<Account>,
    /// As many requests are served at once as there are turns.
    turns: PollSemaphore,
    turn: Option<OwnedSemaphorePermit>,
    /// The room of the frame that is being received.
    admitted: Option<Hold>,
    /// There is none yet.
    waiting: Option<Pin<Box<dyn Future<Output = Hold> + Send>>>,
    attach: fn(&mut In, Hold),
    detach: fn(Out) -> Option<Hold>,
}

impl<In, Out> std::fmt::Debug for Toll<In, Out> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Toll").field("account", &self.account).finish_non_exhaustive()
    }
}

impl<In, Out> Toll<In, Out> {
    /// Ready once there is room for a frame of these lengths. Until then nothing is read; answers are written all the while, and
    /// deadlines kept: room and turns come back by them.
    fn poll_admit(&mut self, cx: &mut Context<'_>, header: usize, payload: usize) -> Poll<()> {
        if self.admitted.is_some() {
            return Poll::Ready(());
        }
        if self.turn.is_none() {
            let turn = self.turns.poll_acquire(cx);
            if turn.is_pending() {
                self.account.waits_for_rest(false);
            }
            self.turn = ready!(turn);
        }
        let waiting = match &mut self.waiting {
            Some(waiting) => waiting,
            None => {
                let bytes = self.account.weight(header, payload);
                self.admitted = self.account.try_take(bytes);
                if self.admitted.is_some() {
                    return Poll::Ready(());
                }
                self.waiting.insert(Box::pin(self.account.clone().take(bytes)))
            }
        };
        self.account.waits_for_rest(false);
        self.admitted = Some(ready!(waiting.as_mut().poll(cx)));
        self.waiting = None;
        Poll::Ready(())
    }
}

/// What is wrong with what came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Garbage {
    TooLarge,
    Malformed,
}

const FRAME_HEAD_BYTES: usize = 8;
/// A sender waits while more than this is still to be written.
const OUTGOING_HIGH_BYTES: usize = 1 << 20;
const READ_BYTES: usize = 64 << 10;
/// A payload up to this size is copied.
const COPIED_BYTES: usize = 16 << 10;
const SLICES_PER_WRITE: usize = 32;
/// A frame's buffer grows to so many times what was received of it: a sender gets no more memory by announcing much.
const BUFFER_GROWTH: usize = 16;

impl<In, Out> Wire<In, Out> {
    /// A transport over a connection whose first frames were exchanged.
    pub fn new(stream: impl Into<Connection>) -> Self {
        Wire {
            stream: stream.into(),
            received: BytesMut::with_capacity(READ_BYTES),
            outgoing: VecDeque::new(),
            outgoing_bytes: 0,
            open: None,
            toll: None,
            types: PhantomData,
        }
    }

    /// Ends as soon as the other end is seen to have gone, while it is read from. A tarpc server notices only once all
    /// requests of the connection are served, and one of them may wait for a disk.
    pub fn closed(&mut self) -> impl Future<Output = ()> + Send + 'static {
        let (open, closed) = oneshot::channel();
        self.open = Some(open);
        closed.map(drop)
    }

    /// What was received, into a buffer of its own of so many bytes at least.
    fn move_to(&mut self, capacity: usize) {
        let mut buffer = BytesMut::with_capacity(capacity.max(self.received.len()));
        buffer.extend_from_slice(&self.received);
        self.received = buffer;
    }

    fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = self.poll_write_all(cx);
        if let Some(toll) = &self.toll {
            toll.account.waits_for_reader(result.is_pending());
        }
        result
    }

    fn poll_write_all(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.outgoing.is_empty() {
            let written = {
                let slices: Vec<IoSlice<'_>> =
                    self.outgoing.iter().take(SLICES_PER_WRITE).map(|(b, _)| IoSlice::new(b)).collect();
                ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, &slices))?
            };
            if let Some(toll) = &self.toll {
                toll.account.written(written);
            }
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.outgoing_bytes -= written;
            let mut left = written;
            while left > 0 {
                let (front, _) = self.outgoing.front_mut().expect("what was written had been queued");
                if front.len() <= left {
                    left -= front.len();
                    self.outgoing.pop_front();
                } else {
                    front.advance(left);
                    left = 0;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// What came is no message: said, though not at each try, and the connection ends with it.
    fn complain(&self, what: Garbage, error: io::Error) -> io::Error {
        static SAID: Mutex<Complaints<(String, Garbage)>> = Mutex::new(Complaints::new());
        let peer = self.stream.peer();
        if SAID.lock().due((peer.clone(), what), Instant::now()) {
            let why = crate::log::chain(&error);
            tracing::warn!("{peer} sends what is no message ({why}); that connection is dropped");
        }
        error
    }

    /// Lengths of header and payload of the frame that `received` begins with.
    fn frame_lengths(&self) -> io::Result<Option<(usize, usize)>> {
        if self.received.len() < FRAME_HEAD_BYTES {
            return Ok(None);
        }
        let word = |at: usize| {
            u32::from_le_bytes(self.received[at..at + 4].try_into().expect("four bytes were sliced")) as usize
        };
        let (header, payload) = (word(0), word(4));
        if header > FRAME_HEADER_MAX_BYTES || payload > FRAME_PAYLOAD_MAX_BYTES {
            let text = format!("frame of {header}+{payload} bytes is larger than any message");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(Some((header, payload)))
    }
}

impl<Req, Resp> Wire<tarpc::ClientMessage<Held<Req>>, tarpc::Response<Held<Resp>>> {
    /// The same for a server, which has so much room for what this connection asks.
    pub fn bounded(stream: impl Into<Connection>, account: Arc<Account>) -> Self {
        let toll = Toll {
            turns: account.turns(),
            turn: None,
            account,
            admitted: None,
            waiting: None,
            attach: |message: &mut tarpc::ClientMessage<Held<Req>>, hold| {
                if let tarpc::ClientMessage::Request(request) = message {
                    request.message.hold = Some(hold);
                }
            },
            detach: |response: tarpc::Response<Held<Resp>>| response.message.ok()?.hold,
        };
        Wire { toll: Some(toll), ..Wire::new(stream) }
    }
}

impl<In: DeserializeOwned, Out> Stream for Wire<In, Out> {
    type Item = io::Result<In>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<In>>> {
        let this = self.get_mut();
        let next = this.poll_frame(cx);
        if let Poll::Ready(None | Some(Err(_))) = next {
            this.open = None;
        }
        next
    }
}

impl<In: DeserializeOwned, Out> Wire<In, Out> {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<In>>> {
        let this = self;
        loop {
            let lengths = this.frame_lengths().map_err(|error| this.complain(Garbage::TooLarge, error))?;
            if let (Some((header, payload)), Some(toll)) = (lengths, &mut this.toll) {
                ready!(toll.poll_admit(cx, header, payload));
            }
            if let Some((header, payload)) = lengths
                && this.received.len() >= FRAME_HEAD_BYTES + header + payload
            {
                this.received.advance(FRAME_HEAD_BYTES);
                let header = this.received.split_to(header);
                let admitted = |toll: &mut Toll<_, _>| Some(toll.admitted.take()?.in_turn(toll.turn.take()));
                let mut hold = this.toll.as_mut().and_then(admitted);
                // A small payload is copied, so that it does not keep a large read buffer alive. A larger one holds its room
                // for as long as it is there, whatever becomes of its request.
                let payload = if payload <= COPIED_BYTES {
                    Bytes::copy_from_slice(&this.received.split_to(payload))
                } else {
                    let payload = this.received.split_to(payload).freeze();
                    match &mut hold {
                        Some(hold) => {
                            let room = hold.split(payload.len());
                            lasting(payload, room)
                        }
                        None => payload,
                    }
                };
                if header.len() + payload.len() > READ_BYTES {
                    // No connection keeps the room of the largest frame that it ever had.
                    this.move_to(READ_BYTES);
                }
                let mut item = codec::decode_frame(&header, payload);
                if let (Ok(item), Some(toll), Some(hold)) = (&mut item, &this.toll, hold) {
                    toll.account.received_whole();
                    (toll.attach)(item, hold);
                }
                let malformed =
                    |error| this.complain(Garbage::Malformed, io::Error::new(io::ErrorKind::InvalidData, error));
                return Poll::Ready(Some(item.map_err(malformed)));
            }
            let wanted = lengths.map_or(READ_BYTES, |(h, p)| (FRAME_HEAD_BYTES + h + p).max(READ_BYTES));
            let most = (this.received.len() * BUFFER_GROWTH).max(READ_BYTES);
            let capacity = wanted.min(most).max(this.received.len() + 4096);
            if capacity > READ_BYTES && capacity > this.received.capacity() {
                // Exactly as much: nothing of the next frame is read into it, which would share it.
                this.move_to(capacity);
            } else {
                this.received.reserve(capacity - this.received.len());
            }
            let stream = Pin::new(&mut this.stream);
            let read = tokio_util::io::poll_read_buf(stream, cx, &mut this.received);
            if let Some(toll) = &this.toll {
                toll.account.waits_for_rest(read.is_pending() && !this.received.is_empty());
                if let Poll::Ready(Ok(n)) = read {
                    toll.account.received(n);
                }
            }
            let n = ready!(read)?;
            if n == 0 {
                return Poll::Ready(if this.received.is_empty() {
                    None
                } else {
                    Some(Err(io::ErrorKind::UnexpectedEof.into()))
                });
            }
        }
    }
}

impl<In, Out: Serialize> Sink<Out> for Wire<In, Out> {
    type Error = io::Error;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.outgoing_bytes > OUTGOING_HIGH_BYTES {
            ready!(this.poll_write_out(cx))?;
        }
        Poll::Ready(Ok(()))
    }

    fn start_send(self: Pin<&mut Self>, item: Out) -> io::Result<()> {
        let this = self.get_mut();
        let mut header = vec![0; FRAME_HEAD_BYTES];
        let payload = codec::encode_frame(&item, &mut header);
        let payload_length: usize = payload.iter().map(Bytes::len).sum();
        let header_length = header.len() - FRAME_HEAD_BYTES;
        if header_length > FRAME_HEADER_MAX_BYTES || payload_length > FRAME_PAYLOAD_MAX_BYTES {
            let text = format!("refusing to send a frame of {header_length}+{payload_length} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        header[0..4].copy_from_slice(&(header_length as u32).to_le_bytes());
        header[4..8].copy_from_slice(&(payload_length as u32).to_le_bytes());
        this.outgoing_bytes += header.len() + payload_length;
        this.outgoing.push_back((header.into(), None));
        this.outgoing.extend(payload.into_iter().filter(|b| !b.is_empty()).map(|b| (b, None)));
        if let (Some(toll), Some((_, last))) = (&this.toll, this.outgoing.back_mut()) {
            *last = (toll.detach)(item);
        }
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_write_out(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_write_out(cx))?;
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The network said no, or nothing.
    #[error("no connection")]
    Network(#[from] io::Error),
    /// No answer in time.
    #[error("no answer in time")]
    Timeout,
    /// It answered, and refused.
    #[error("refused: {0}")]
    Refused(String),
    /// It does not speak this protocol.
    #[error("something else than a raidfs server answers there")]
    Foreign,
}

impl ConnectError {
    /// Whether nothing listens there: the process is gone, though its machine answers.
    pub fn is_gone(&self) -> bool {
        matches!(self, ConnectError::Network(e) if e.kind() == io::ErrorKind::ConnectionRefused)
    }
}

/// Connects to a server, says hello, and returns the transport once welcome.
pub async fn connect<In, Out>(
    address: SocketAddr,
    hello: &Hello,
    timeout: Duration,
) -> Result<Wire<In, Out>, ConnectError> {
    open(address, hello, timeout).await.map(Wire::new)
}

/// The same, as the bare connection.
pub async fn open(address: SocketAddr, hello: &Hello, timeout: Duration) -> Result<Connection, ConnectError> {
    let attempt = async {
        let mut stream = Connection::connect(address).await?;
        write_first(&mut stream, hello).await?;
        match read_first(&mut stream).await {
            Ok(First::Ours(Welcome::Yes)) => Ok(stream),
            Ok(First::Ours(Welcome::No(why)) | First::Other(_, Some(Welcome::No(why)))) => {
                Err(ConnectError::Refused(printed(&why).to_string()))
            }
            Ok(First::Other(version, _)) => Err(ConnectError::Refused(format!(
                "it speaks protocol {version}, not {PROTOCOL_VERSION}; run one version everywhere"
            ))),
            Ok(First::None) => Err(ConnectError::Network(io::ErrorKind::UnexpectedEof.into())),
            Err(e) if e.kind() == io::ErrorKind::InvalidData => Err(ConnectError::Foreign),
            Err(e) => Err(e.into()),
        }
    };
    tokio::time::timeout(timeout, attempt).await.unwrap_or(Err(ConnectError::Timeout))
}

/// Why a caller's first frame is none to go on with.
#[derive(Debug, thiserror::Error)]
pub enum HelloError {
    /// The caller went before it said anything.
    #[error("it ended before a first frame")]
    Gone,
    /// It speaks this other version of the protocol; what the rest of its frame means, only that one knows.
    #[error("its protocol is {0}, not {PROTOCOL_VERSION}")]
    Version(u16),
    /// What came is no first frame, or was not whole in time.
    #[error("no proper first frame")]
    Broken(#[from] io::Error),
}

/// Reads a caller's first frame.
pub async fn read_hello(stream: &mut (impl AsyncRead + Unpin)) -> Result<Hello, HelloError> {
    let read = read_first::<Hello>(stream);
    match tokio::time::timeout(HELLO_TIMEOUT, read).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?? {
        First::None => Err(HelloError::Gone),
        First::Ours(hello) => Ok(Hello { version: PROTOCOL_VERSION, ..hello }),
        First::Other(version, _) => Err(HelloError::Version(version)),
    }
}

/// Answers a caller's first frame; one of another version reads why it is refused if its answers have the same form.
pub async fn welcome(stream: &mut (impl AsyncWrite + Unpin), answer: &Welcome) -> io::Result<()> {
    write_first(stream, answer).await
}

/// What a connection begins with.
#[derive(Debug)]
enum First<T> {
    /// Nothing: it ended.
    None,
    /// A frame of this version.
    Ours(T),
    /// One of another version; its body, if it happens to have the form of ours.
    Other(u16, Option<T>),
}

// The first frame is `MAGIC, version: u16, length: u16, body`, so that other versions can be told apart for ever: their
// bodies may have any length and any form.
async fn write_first<T: Serialize>(stream: &mut (impl AsyncWrite + Unpin), value: &T) -> io::Result<()> {
    let body = codec::encode(value);
    let mut frame = Vec::with_capacity(8 + body.len());
    frame.extend_from_slice(&MAGIC);
    frame.extend_from_slice(&PROTOCOL_VERSION.to_le_bytes());
    frame.extend_from_slice(&(body.len() as u16).to_le_bytes());
    frame.extend_from_slice(&body);
    stream.write_all(&frame).await
}

async fn read_first<T: DeserializeOwned>(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<First<T>> {
    let invalid = |text: &'static str| io::Error::new(io::ErrorKind::InvalidData, text);
    let mut head = [0; 8];
    let begun = match stream.read(&mut head).await {
        Ok(0) => return Ok(First::None),
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(First::None),
        read => read?,
    };
    stream.read_exact(&mut head[begun..]).await?;
    if head[..4] != MAGIC {
        return Err(invalid("the first bytes are not raidfs's"));
    }
    let version = u16::from_le_bytes([head[4], head[5]]);
    let length = usize::from(u16::from_le_bytes([head[6], head[7]]));
    if version != PROTOCOL_VERSION {
        return Ok(First::Other(version, read_foreign_body(stream, length).await));
    }
    if length > HELLO_MAX_BYTES {
        return Err(invalid("the first frame is too long"));
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    codec::decode(&body).map(First::Ours).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
}

/// Reads a body of another version: it may be anything, and is read to its end, as bytes that were not read would have the
/// answer lost when the connection is closed.
async fn read_foreign_body<T: DeserializeOwned>(stream: &mut (impl AsyncRead + Unpin), length: usize) -> Option<T> {
    let mut body = vec![0; length.min(HELLO_MAX_BYTES)];
    stream.read_exact(&mut body).await.ok()?;
    if length > HELLO_MAX_BYTES {
        let mut rest = stream.take((length - HELLO_MAX_BYTES) as u64);
        tokio::io::copy(&mut rest, &mut tokio::io::sink()).await.ok()?;
        return None;
    }
    codec::decode(&body).ok()
}

/// Keeps buffers of a megabyte in the heap: with glibc's defaults each is mapped and unmapped anew, which costs more
/// than the copy (measured: half the throughput). Called once at the start of each program.
pub fn tune_allocator() {
    // SAFETY: mallopt only sets parameters of the allocator.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 64 << 20);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 32 << 20);
        libc::mallopt(libc::M_ARENA_MAX, 4);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Blob;
    use crate::id::{ClusterId, ServerId};
    use crate::rpc::{Service, Speaker};
    use futures::{SinkExt, StreamExt};
    use tokio::net::{TcpListener, TcpStream};

    fn hello() -> Hello {
        Hello {
            version: PROTOCOL_VERSION,
            cluster: ClusterId(1),
            cluster_name: "c".into(),
            speaker: Speaker::Client,
            to: ServerId(1),
            service: Service::Names,
        }
    }

    type Message = (u32, Blob);

    #[tokio::test]
    async fn messages_cross_with_their_payload() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            assert_eq!(read_hello(&mut stream).await.unwrap(), hello());
            welcome(&mut stream, &Welcome::Yes).await.unwrap();
            let mut wire: Wire<Message, Message> = Wire::new(stream);
            while let Some(message) = wire.next().await {
                wire.send(message.unwrap()).await.unwrap();
            }
        });
        let mut wire: Wire<Message, Message> = connect(address, &hello(), HELLO_TIMEOUT).await.unwrap();
        for size in [0usize, 1, 4096, 3_000_000] {
            let message = (size as u32, Blob::from(vec![size as u8; size]));
            wire.send(message.clone()).await.unwrap();
            assert_eq!(wire.next().await.unwrap().unwrap(), message);
        }
        drop(wire);
        server.await.unwrap();
    }

    #[tokio::test]
    async fn garbage_and_oversized_frames_end_the_connection() {
        let too_long = [&MAGIC[..], &PROTOCOL_VERSION.to_le_bytes(), b"\xff\xffxxxx"].concat();
        for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 64], &too_long] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            client.write_all(bytes).await.unwrap();
            let (mut stream, _) = listener.accept().await.unwrap();
            let read = read_hello(&mut stream).await;
            assert!(matches!(&read, Err(HelloError::Broken(e)) if e.kind() == io::ErrorKind::InvalidData), "{read:?}");
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        client.write_all(&[0xff; 64]).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let mut wire: Wire<Message, Message> = Wire::new(stream);
        assert_eq!(wire.next().await.unwrap().unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    /// A first frame of another version of the protocol.
    fn foreign(body: &[u8]) -> Vec<u8> {
        let length = (body.len() as u16).to_le_bytes();
        [&MAGIC[..], &99u16.to_le_bytes(), &length, body].concat()
    }

    /// Bodies of other forms than today's, of lengths that are and are not those of today's.
    fn foreign_bodies() -> Vec<Vec<u8>> {
        let mut bodies: Vec<Vec<u8>> = [0, 1, 7, 1024, 1025, 65_535].map(|length| vec![0xff; length]).to_vec();
        bodies.push(codec::encode(&hello()));
        bodies.push([codec::encode(&hello()), vec![1]].concat());
        bodies
    }

    #[tokio::test]
    async fn a_caller_of_another_version_is_told_apart_whatever_its_hello_looks_like() {
        for body in foreign_bodies() {
            let (mut client, mut server) = tokio::io::duplex(1 << 20);
            client.write_all(&foreign(&body)).await.unwrap();
            let read = read_hello(&mut server).await;
            assert!(matches!(read, Err(HelloError::Version(99))), "{} bytes: {read:?}", body.len());
            drop(client);
            assert_eq!(server.read(&mut [0]).await.unwrap(), 0, "nothing is left unread, or the answer might be lost");
        }
        // One that stops in the middle is told apart by what it said.
        let (mut client, mut server) = tokio::io::duplex(1 << 20);
        client.write_all(&foreign(&[1; 100])[..20]).await.unwrap();
        drop(client);
        assert!(matches!(read_hello(&mut server).await, Err(HelloError::Version(99))));
    }

    #[tokio::test]
    async fn a_server_of_another_version_is_told_apart_whatever_its_welcome_looks_like() {
        let mut cases: Vec<(Vec<u8>, &str)> =
            foreign_bodies().into_iter().map(|body| (body, "it speaks protocol 99, not ")).collect();
        cases.push((codec::encode(&Welcome::Yes), "it speaks protocol 99, not "));
        // What it says is passed on if it can be read.
        cases.push((codec::encode(&Welcome::No("too old".into())), "too old"));
        for (body, said) in cases {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let server = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                read_hello(&mut stream).await.unwrap();
                stream.write_all(&foreign(&body)).await.unwrap();
                stream
            };
            let hello = hello();
            let (opened, _) = tokio::join!(open(address, &hello, HELLO_TIMEOUT), server);
            let why = opened.unwrap_err().to_string();
            assert!(why.starts_with(&format!("refused: {said}")), "{} bytes: {why}", body.len());
        }
    }

    #[tokio::test]
    async fn an_end_before_any_byte_is_no_broken_frame() {
        let (client, mut server) = tokio::io::duplex(64);
        drop(client);
        assert!(matches!(read_hello(&mut server).await, Err(HelloError::Gone)));
        let (mut client, mut server) = tokio::io::duplex(64);
        client.write_all(b"r").await.unwrap();
        drop(client);
        assert!(matches!(read_hello(&mut server).await, Err(HelloError::Broken(_))));
    }

    #[tokio::test]
    async fn memory_follows_what_was_received_not_what_was_announced() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let mut wire: Wire<Message, Message> = Wire::new(stream);
        let message = (7, Blob::from(vec![3; FRAME_PAYLOAD_MAX_BYTES]));
        let mut frame = vec![0; FRAME_HEAD_BYTES];
        let payload = codec::encode_frame(&message, &mut frame).concat();
        let header = (frame.len() - FRAME_HEAD_BYTES) as u32;
        frame[..4].copy_from_slice(&header.to_le_bytes());
        frame[4..8].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        frame.extend_from_slice(&payload);
        let mut sent = 0;
        for upto in [FRAME_HEAD_BYTES, 20, 1000, 50_000, 300_000] {
            client.write_all(&frame[sent..upto]).await.unwrap();
            sent = upto;
            while wire.received.len() < sent {
                assert!(futures::poll!(wire.next()).is_pending(), "it is not whole");
                tokio::task::yield_now().await;
            }
            assert!(futures::poll!(wire.next()).is_pending(), "it is not whole");
            // A buffer that grows is at least doubled.
            let most = (2 * sent * BUFFER_GROWTH).max(2 * READ_BYTES);
            assert!(wire.received.capacity() <= most, "{} bytes for {sent}", wire.received.capacity());
        }
        let rest = tokio::spawn(async move { client.write_all(&frame[sent..]).await.map(|()| client) });
        assert_eq!(wire.next().await.unwrap().unwrap(), message);
        rest.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_truncated_frame_is_an_error_not_an_end() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        client.write_all(&[9, 0, 0, 0, 0, 0, 0, 0, 1]).await.unwrap();
        drop(client);
        let (stream, _) = listener.accept().await.unwrap();
        let mut wire: Wire<Message, Message> = Wire::new(stream);
        assert_eq!(wire.next().await.unwrap().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
