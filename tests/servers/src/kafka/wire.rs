//! Asks a broker which brokers serve: one Metadata request (key 3, version 1) over plain TCP. A
//! broker answers with those that the controllers have registered and not fenced. Parsing is pure;
//! the question is I/O. The form is in Kafka's protocol guide.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Size 14, key 3, version 1, correlation 1, no client name, no topics.
const METADATA_REQUEST: [u8; 18] = [0, 0, 0, 14, 0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0, 0, 0, 0];
/// A frozen broker must not hold who asks.
const REQUEST_LIMIT: Duration = Duration::from_secs(2);
/// An answer without topics has some dozens of bytes for each broker.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// The ids of the brokers that serve, as the one at that port of 127.0.0.1 knows them.
pub(super) async fn serving_brokers(port: u16) -> Option<Vec<usize>> {
    let answer = timeout(REQUEST_LIMIT, exchange(port)).await.ok()?.ok()?;
    broker_ids(&answer)
}

async fn exchange(port: u16) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(&METADATA_REQUEST).await?;
    let size = usize::try_from(stream.read_i32().await?).unwrap_or(usize::MAX);
    if size > ANSWER_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut answer = vec![0; size];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

/// Correlation, then the brokers: id, host, port, rack or none.
fn broker_ids(answer: &[u8]) -> Option<Vec<usize>> {
    let mut rest = answer;
    let (_correlation, count) = (number(&mut rest)?, number(&mut rest)?);
    (0..count)
        .map(|_| {
            let id = number(&mut rest)?;
            skip_text(&mut rest)?;
            number(&mut rest)?;
            skip_text(&mut rest)?;
            usize::try_from(id).ok()
        })
        .collect()
}

fn number(rest: &mut &[u8]) -> Option<i32> {
    let (bytes, after) = rest.split_first_chunk::<4>()?;
    *rest = after;
    Some(i32::from_be_bytes(*bytes))
}

/// Its length, -1 for none, and the bytes.
fn skip_text(rest: &mut &[u8]) -> Option<()> {
    let (bytes, after) = rest.split_first_chunk::<2>()?;
    let length = usize::try_from(i16::from_be_bytes(*bytes)).unwrap_or_default();
    *rest = after.get(length..)?;
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A broker as it stands in an answer.
    fn broker(id: i32, rack: Option<&str>) -> Vec<u8> {
        let mut bytes = id.to_be_bytes().to_vec();
        bytes.extend(b"\0\x09127.0.0.1\0\0\x23\x84");
        match rack {
            Some(rack) => {
                bytes.extend(i16::try_from(rack.len()).unwrap().to_be_bytes());
                bytes.extend(rack.as_bytes());
            }
            None => bytes.extend([0xff, 0xff]),
        }
        bytes
    }

    fn check(brokers: &[Vec<u8>], cut: usize, expected: Option<&[usize]>) {
        let mut answer = vec![0, 0, 0, 1];
        answer.extend(i32::try_from(brokers.len()).unwrap().to_be_bytes());
        answer.extend(brokers.concat());
        answer.truncate(answer.len() - cut);
        assert_eq!(broker_ids(&answer).as_deref(), expected, "{answer:?}");
    }

    #[test]
    fn the_ids_are_found_with_and_without_racks() {
        check(&[], 0, Some(&[]));
        check(&[broker(1, None), broker(3, Some("rack-3"))], 0, Some(&[1, 3]));
        check(&[broker(1, None), broker(3, Some("rack-3"))], 1, None);
        check(&[broker(1, None)], 2, None);
        check(&[], 4, None);
        check(&[broker(-1, None)], 0, None);
    }

    #[test]
    fn the_request_says_its_size() {
        let size = u32::from_be_bytes(*METADATA_REQUEST.first_chunk().unwrap());
        assert_eq!(usize::try_from(size).unwrap(), METADATA_REQUEST.len() - 4);
    }
}
