//! Values to bytes and back: the only use of bincode (1.3.3, variable-length integers, trailing bytes refused).
//!
//! [`Blob`] is bytes that travel beside the header instead of through serde: while a frame is encoded they are put
//! aside, and while one is decoded they are taken from what was read beside the header, in the same order.

use bincode::Options;
use bytes::Bytes;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::cell::RefCell;

use crate::limits::FRAME_HEADER_MAX_BYTES;

/// Why bytes could not be read back.
#[derive(Debug, thiserror::Error)]
#[error("malformed message or record")]
pub struct Malformed(#[source] bincode::Error);

fn options() -> impl Options {
    bincode::DefaultOptions::new().with_limit(FRAME_HEADER_MAX_BYTES as u64)
}

/// The bytes of `value`. Every [`Blob`] in it is written in place, length first.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    bincode::DefaultOptions::new().serialize(value).expect("values of this program have an encoding")
}

/// Reads a value back; all of `bytes` must belong to it.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Malformed> {
    options().deserialize(bytes).map_err(Malformed)
}

thread_local! {
    static ASIDE: RefCell<Option<Vec<Bytes>>> = const { RefCell::new(None) };
    static BESIDE: RefCell<Option<Bytes>> = const { RefCell::new(None) };
}

/// Encodes a frame's header into `header`, and returns the payload that goes beside it.
pub fn encode_frame<T: Serialize>(value: &T, header: &mut Vec<u8>) -> Vec<Bytes> {
    ASIDE.with(|aside| *aside.borrow_mut() = Some(Vec::new()));
    let result = bincode::DefaultOptions::new().serialize_into(header, value);
    let payload = ASIDE.with(|aside| aside.borrow_mut().take());
    result.expect("values of this program have an encoding");
    payload.unwrap_or_default()
}

/// Decodes a frame from its header and the payload beside it.
pub fn decode_frame<T: DeserializeOwned>(header: &[u8], payload: Bytes) -> Result<T, Malformed> {
    BESIDE.with(|beside| *beside.borrow_mut() = Some(payload));
    // tarpc adds the deadline that a frame names to the time of day, and panics if that is too far off: what is beside
    // must not stay there, and one connection's garbage must end that connection only.
    let decoded = crate::panics::caught(|| options().deserialize(header));
    let result = decoded.unwrap_or_else(|_| Err(bincode::Error::custom("a value that nobody can have meant")));
    let left = BESIDE.with(|beside| beside.borrow_mut().take());
    match result {
        Ok(_) if left.is_some_and(|rest| !rest.is_empty()) => {
            Err(Malformed(bincode::Error::custom("payload that no field claims")))
        }
        other => other.map_err(Malformed),
    }
}

/// Bytes that are not copied on their way through the encoder.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Blob(pub Bytes);

impl std::fmt::Debug for Blob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[{} bytes]", self.0.len())
    }
}

impl From<Bytes> for Blob {
    fn from(bytes: Bytes) -> Blob {
        Blob(bytes)
    }
}

impl From<Vec<u8>> for Blob {
    fn from(bytes: Vec<u8>) -> Blob {
        Blob(bytes.into())
    }
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let put_aside = ASIDE.with(|aside| match aside.borrow_mut().as_mut() {
            Some(list) => {
                list.push(self.0.clone());
                true
            }
            None => false,
        });
        if put_aside { s.serialize_u32(self.0.len() as u32) } else { s.serialize_bytes(&self.0) }
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Blob, D::Error> {
        if BESIDE.with(|beside| beside.borrow().is_none()) {
            return Bytes::deserialize(d).map(Blob);
        }
        let length = u32::deserialize(d)? as usize;
        BESIDE.with(|beside| match beside.borrow_mut().as_mut() {
            Some(rest) if rest.len() >= length => Ok(Blob(rest.split_to(length))),
            _ => Err(D::Error::custom("payload shorter than its header says")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn blobs_travel_beside_the_header() {
        let value = (1u8, Blob::from(vec![1; 5000]), "x".to_string(), Blob::from(vec![2; 3]));
        let mut header = Vec::new();
        let payload: Vec<u8> = encode_frame(&value, &mut header).concat();
        assert!(header.len() < 20 && payload.len() == 5003);
        let back: (u8, Blob, String, Blob) = decode_frame(&header, payload.into()).unwrap();
        assert_eq!(back, value);
        assert_eq!(decode::<(u8, Blob, String, Blob)>(&encode(&value)).unwrap(), value);
    }

    #[test]
    fn a_payload_of_the_wrong_length_is_refused() {
        let mut header = Vec::new();
        encode_frame(&Blob::from(vec![1; 10]), &mut header);
        assert!(decode_frame::<Blob>(&header, Bytes::from(vec![1; 9])).is_err());
        assert!(decode_frame::<Blob>(&header, Bytes::from(vec![1; 11])).is_err());
    }

    #[test]
    fn a_deadline_beyond_all_time_is_refused() {
        let mut request = encode(&(0u32, u64::MAX - 1, 0u32));
        request.extend_from_slice(&[0; 64]);
        for payload in [Bytes::new(), Bytes::from_static(b"beside")] {
            let decoded =
                decode_frame::<tarpc::ClientMessage<crate::rpc::names::NamesServiceRequest>>(&request, payload);
            assert!(decoded.is_err());
            assert_eq!(
                decode::<Blob>(&encode(&Blob::from(vec![1, 2]))).unwrap(),
                Blob::from(vec![1, 2]),
                "nothing stays"
            );
        }
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode::<crate::namespace::Request>(&bytes);
            let _ = decode_frame::<tarpc::ClientMessage<crate::rpc::chunks::ChunkServiceRequest>>(&bytes, Bytes::new());
            let _ = decode_frame::<tarpc::ClientMessage<crate::rpc::names::NamesServiceRequest>>(&bytes, Bytes::new());
            let _ = decode_frame::<tarpc::ClientMessage<crate::rpc::peer::PeerServiceRequest>>(&bytes, Bytes::new());
            let _ = decode_frame::<tarpc::ClientMessage<crate::rpc::admin::AdminServiceRequest>>(&bytes, Bytes::new());
        }
    }
}
