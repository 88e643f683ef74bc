//! Reading an MCAP file that may be truncated, damaged or hostile.
//!
//! Records are walked here, by their lengths, which are compared with what the file still has before anything is read
//! or reserved. The crate `mcap` reads their contents and compares the checksums of chunks. A chunk is taken whole or
//! not at all.

use super::{ENCODING, REGION_BYTES, STEP_BYTES, STREAM_ENCODING, Stream};
use mcap::records::{ChunkHeader, Record, op};
use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes before the content of a record: its kind and its length.
const PREFIX: u64 = 9;
/// Largest chunk, and largest message outside of a chunk.
const LARGEST: u64 = 2 << 30;
/// Length of a chunk's head without the name of the compression.
const CHUNK_HEAD: u64 = 40;

/// A recorded region at a time of its stream.
#[derive(Debug, PartialEq, Eq)]
pub struct Channel {
    pub topic: String,
    pub stream: Arc<Stream>,
}

/// A message as it is in the file.
#[derive(Debug)]
pub struct Message {
    pub channel: Arc<Channel>,
    pub log_time: u64,
    pub publish_time: u64,
    pub data: Vec<u8>,
}

/// Why a file cannot be read further.
#[derive(Debug, PartialEq, Eq)]
pub struct Damage {
    /// Position of the first record that is not good.
    pub at: u64,
    pub why: String,
}

/// What a file has in its good chunks.
#[derive(Debug, Default)]
pub struct Contents {
    /// Each region's topic and the largest size that its region had.
    pub regions: Vec<(String, u64)>,
    pub messages: u64,
    /// First and last time.
    pub times: Option<(u64, u64)>,
    /// Topics of channels that hold something other than regions.
    pub other: BTreeSet<String>,
    pub damage: Option<Damage>,
}

pub struct Reader {
    path: PathBuf,
    file: BufReader<File>,
    length: u64,
    position: u64,
    schemas: HashMap<u16, Vec<u8>>,
    /// `None` for channels of another encoding.
    channels: HashMap<u16, Option<Arc<Channel>>>,
    contents: Contents,
    body: Vec<u8>,
}

type Step<T> = Result<T, String>;

impl Reader {
    /// Opens a file.
    ///
    /// # Errors
    /// When it cannot be opened or is no MCAP file.
    pub fn open(path: &Path) -> Result<Self, String> {
        let fail = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
        let file = File::open(path).map_err(fail)?;
        let metadata = file.metadata().map_err(fail)?;
        if !metadata.is_file() {
            return Err(format!("{} is not a regular file: name an MCAP file", path.display()));
        }
        let mut file = BufReader::new(file);
        let mut magic = [0; 8];
        let begun = file.read_exact(&mut magic);
        if begun.is_err() || magic != mcap::MAGIC {
            return Err(format!("{} is no MCAP file: its first bytes are others", path.display()));
        }
        Ok(Self {
            path: path.into(),
            file,
            length: metadata.len(),
            position: magic.len() as u64,
            schemas: HashMap::new(),
            channels: HashMap::new(),
            contents: Contents::default(),
            body: Vec::new(),
        })
    }

    /// Looks through the whole file. The payloads are passed over.
    pub fn contents(mut self) -> Contents {
        let mut ignored = Vec::new();
        while self.next_group(&mut ignored, true) {
            ignored.clear();
        }
        self.contents
    }

    /// What was found so far.
    pub fn found(&self) -> &Contents {
        &self.contents
    }

    /// Appends the messages of the next chunk, or the next message outside of a chunk. False at the end.
    pub fn next(&mut self, messages: &mut Vec<Message>) -> bool {
        self.next_group(messages, false)
    }

    fn next_group(&mut self, messages: &mut Vec<Message>, is_scan: bool) -> bool {
        let (at, before) = (self.position, messages.len());
        match self.group(messages, is_scan) {
            Ok(has_more) => has_more,
            Err(why) => {
                messages.truncate(before);
                self.contents.damage = Some(Damage { at, why });
                false
            }
        }
    }

    fn group(&mut self, messages: &mut Vec<Message>, is_scan: bool) -> Step<bool> {
        let (kind, length) = self.prefix(self.length)?;
        match kind {
            op::DATA_END | op::FOOTER => return Ok(false),
            op::CHUNK if is_scan => self.scan_chunk(length)?,
            op::CHUNK => self.chunk(length, messages)?,
            op::MESSAGE if is_scan => self.scan_message(length)?,
            op::SCHEMA | op::CHANNEL | op::MESSAGE => {
                let body = self.body(length)?;
                let record = mcap::parse_record(kind, &body).map_err(|error| error.to_string())?.into_owned();
                self.body = body;
                messages.extend(self.take(record)?);
            }
            0 => return Err("its records end in zeros".into()),
            _ => self.skip(length)?,
        }
        Ok(true)
    }

    /// The kind and the length of the record at the position, which must end at `end` or before.
    fn prefix(&mut self, end: u64) -> Step<(u8, u64)> {
        if end.saturating_sub(self.position) < PREFIX {
            return Err("it ends without its last records".into());
        }
        let mut prefix = [0; PREFIX as usize];
        self.read(&mut prefix)?;
        let [kind, length @ ..] = prefix;
        let length = u64::from_le_bytes(length);
        let left = end - self.position;
        if length > left {
            return Err(format!("a record of {length} bytes has {left} left"));
        }
        Ok((kind, length))
    }

    fn read(&mut self, to: &mut [u8]) -> Step<()> {
        for part in to.chunks_mut(STEP_BYTES) {
            self.file.read_exact(part).map_err(|error| error.to_string())?;
            self.position += part.len() as u64;
        }
        Ok(())
    }

    fn skip(&mut self, length: u64) -> Step<()> {
        // The length was compared with that of the file.
        self.file.seek_relative(length as i64).map_err(|error| error.to_string())?;
        self.position += length;
        Ok(())
    }

    /// The content of a record, in the buffer that the caller gives back.
    fn body(&mut self, length: u64) -> Step<Vec<u8>> {
        if length > LARGEST {
            return Err(format!("a record of {length} bytes is larger than {LARGEST}"));
        }
        let mut body = std::mem::take(&mut self.body);
        body.resize(length as usize, 0);
        self.read(&mut body)?;
        Ok(body)
    }

    fn chunk(&mut self, length: u64, messages: &mut Vec<Message>) -> Step<()> {
        let body = self.body(length)?;
        let Record::Chunk { header, data } = mcap::parse_record(op::CHUNK, &body).map_err(|error| error.to_string())?
        else {
            return Err("a chunk is something else".into());
        };
        self.chunk_records(header, &data, messages)?;
        drop(data);
        self.body = body;
        Ok(())
    }

    fn chunk_records(&mut self, header: ChunkHeader, data: &[u8], messages: &mut Vec<Message>) -> Step<()> {
        check_compression(&header.compression)?;
        check_lengths(data)?;
        for record in mcap::read::ChunkReader::new(header, data).map_err(|error| error.to_string())? {
            messages.extend(self.take(record.map_err(|error| error.to_string())?)?);
        }
        Ok(())
    }

    /// As [`chunk`](Self::chunk), but passes over messages.
    fn scan_chunk(&mut self, length: u64) -> Step<()> {
        let end = self.position + length;
        let mut head = [0; 32];
        if length < CHUNK_HEAD {
            return Err("a chunk is too short".into());
        }
        self.read(&mut head)?;
        let name_length = u32::from_le_bytes([head[28], head[29], head[30], head[31]]);
        if u64::from(name_length) > 64.min(length - CHUNK_HEAD) {
            return Err("the name of a chunk's compression is too long".into());
        }
        let mut name = vec![0; name_length as usize];
        self.read(&mut name)?;
        check_compression(&String::from_utf8_lossy(&name))?;
        let mut size = [0; 8];
        self.read(&mut size)?;
        let records_end = self.position.saturating_add(u64::from_le_bytes(size));
        if records_end > end {
            return Err("a chunk is shorter than its records".into());
        }
        while self.position < records_end {
            let (kind, length) = self.prefix(records_end)?;
            match kind {
                op::MESSAGE => self.scan_message(length)?,
                op::SCHEMA | op::CHANNEL => {
                    let body = self.body(length)?;
                    let record = mcap::parse_record(kind, &body).map_err(|error| error.to_string())?.into_owned();
                    self.body = body;
                    self.take(record)?;
                }
                _ => self.skip(length)?,
            }
        }
        self.skip(end - records_end)
    }

    fn scan_message(&mut self, length: u64) -> Step<()> {
        let mut head = [0; 22];
        let rest = length.checked_sub(head.len() as u64).ok_or("a message is too short")?;
        self.read(&mut head)?;
        self.skip(rest)?;
        let id = u16::from_le_bytes([head[0], head[1]]);
        let log_time = u64::from_le_bytes(std::array::from_fn(|i| head[6 + i]));
        self.count(id, log_time).map(drop)
    }

    /// Notes a schema or a channel; returns a message of a region.
    fn take(&mut self, record: Record<'_>) -> Step<Option<Message>> {
        match record {
            Record::Schema { header, data } if header.encoding == STREAM_ENCODING => {
                self.schemas.insert(header.id, data.into_owned());
            }
            Record::Channel(channel) => self.add_channel(channel)?,
            Record::Message { header, data } => {
                let Some(channel) = self.count(header.channel_id, header.log_time)? else { return Ok(None) };
                let (log_time, publish_time) = (header.log_time, header.publish_time);
                return Ok(Some(Message { channel, log_time, publish_time, data: Cow::into_owned(data) }));
            }
            _ => {}
        }
        Ok(None)
    }

    fn add_channel(&mut self, channel: mcap::records::Channel) -> Step<()> {
        let mcap::records::Channel { id, schema_id, topic, message_encoding, metadata } = channel;
        if message_encoding != ENCODING {
            self.contents.other.insert(topic);
            self.channels.insert(id, None);
            return Ok(());
        }
        let region_bytes = metadata.get(REGION_BYTES).and_then(|bytes| bytes.parse().ok()).unwrap_or(0);
        let mut stream = Stream { region_bytes, ..Stream::default() };
        if schema_id != 0 {
            let schema = self.schemas.get(&schema_id).and_then(|schema| Stream::of_schema(schema));
            let (caps, blob) = schema.ok_or_else(|| format!("the caps of the channel {topic:?} are not there"))?;
            (stream.caps, stream.blob) = (Some(caps.into()), blob.into());
        }
        match self.contents.regions.iter_mut().find(|(name, _)| *name == topic) {
            Some((_, bytes)) => *bytes = region_bytes.max(*bytes),
            None => self.contents.regions.push((topic.clone(), region_bytes)),
        }
        self.channels.insert(id, Some(Arc::new(Channel { topic, stream: Arc::new(stream) })));
        Ok(())
    }

    /// Counts a message of a region.
    fn count(&mut self, id: u16, log_time: u64) -> Step<Option<Arc<Channel>>> {
        let channel =
            self.channels.get(&id).ok_or_else(|| format!("a message is of channel {id}, which is not there"))?;
        if channel.is_some() {
            self.contents.messages += 1;
            let (first, last) = self.contents.times.unwrap_or((log_time, log_time));
            self.contents.times = Some((first.min(log_time), last.max(log_time)));
        }
        Ok(channel.clone())
    }

    /// Begins again.
    ///
    /// # Errors
    /// When the file cannot be read any more.
    pub fn rewind(&mut self) -> Result<(), String> {
        let start = self.file.seek(SeekFrom::Start(mcap::MAGIC.len() as u64));
        self.position = start.map_err(|error| format!("cannot read {}: {error}", self.path.display()))?;
        self.contents = Contents::default();
        Ok(())
    }
}

fn check_compression(name: &str) -> Step<()> {
    if name.is_empty() {
        return Ok(());
    }
    let name: String = name.chars().take(20).collect();
    Err(format!("a chunk is compressed ({name:?}): write the file anew without compression"))
}

/// Whether the records of a chunk fill it exactly.
fn check_lengths(mut data: &[u8]) -> Step<()> {
    while !data.is_empty() {
        let next = data.get(1..9).and_then(|length| Some(u64::from_le_bytes(length.try_into().ok()?)));
        let next = next.and_then(|length| length.checked_add(PREFIX)).and_then(|end| usize::try_from(end).ok());
        data = next.and_then(|end| data.get(end..)).ok_or("a record does not fit into its chunk")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::file::McapFile;
    use super::super::layout::{Head, Kind};
    use super::super::receiver;
    use super::*;
    use shm2_testing::{Rng, TempPath};

    /// A file with `chunks` chunks of two frames each, under changing caps.
    fn file(chunks: u64) -> (TempPath, Vec<u8>) {
        let path = TempPath::new("mcap");
        let mut file = McapFile::create(&path, false, 2).unwrap();
        for chunk in 0..chunks {
            let caps = Some(format!("video/x-raw, width={chunk}").into_bytes());
            let stream = Arc::new(Stream { caps, blob: vec![chunk as u8; 5], region_bytes: 1 << 20 });
            for region in 0..2 {
                let mut data = Vec::new();
                Head::new(Kind::Frame).append_to(&mut data, b"meta");
                data.extend([chunk as u8; 100]);
                let (sequence, log_time) = (chunk, 1_000 * chunk);
                let stream = stream.clone();
                let message =
                    receiver::Message { kind: Kind::Frame, stream, sequence, log_time, publish_time: log_time, data };
                file.write(region, ["shm:///dev/shm/a", "shm:///dev/shm/b"][region], &message).unwrap();
            }
            file.flush().unwrap();
        }
        file.finish().unwrap();
        drop(file);
        let bytes = std::fs::read(&path).unwrap();
        (path, bytes)
    }

    /// Reads the file as both passes do: the number of messages, and whether the file is damaged.
    fn read(path: &Path) -> Option<(u64, bool)> {
        let contents = Reader::open(path).ok()?.contents();
        let mut reader = Reader::open(path).ok()?;
        let mut messages = Vec::new();
        while reader.next(&mut messages) {}
        assert!(messages.len() as u64 <= contents.messages.max(reader.found().messages));
        Some((messages.len() as u64, reader.found().damage.is_some()))
    }

    #[test]
    fn a_file_that_is_cut_anywhere_has_the_messages_of_its_whole_chunks() {
        let (path, bytes) = file(3);
        assert_eq!(read(&path), Some((6, false)));
        let mut last = 6;
        for length in (0..bytes.len() as u64).rev() {
            std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(length).unwrap();
            let Some((messages, is_damaged)) = read(&path) else {
                assert!(length < 8, "{length}");
                continue;
            };
            // Behind the last message only the summary is lost.
            assert!(messages <= last && messages.is_multiple_of(2) && (is_damaged || messages == 6), "{length}");
            last = messages;
        }
        assert_eq!(last, 0);
    }

    #[test]
    fn a_file_with_other_bytes_anywhere_is_read_without_a_panic() {
        let (path, bytes) = file(2);
        let mut random = Rng::with_seed(5);
        for _ in 0..3_000 {
            let mut other = bytes.clone();
            for _ in 0..random.usize(1..4) {
                let at = random.usize(8..other.len());
                let any = random.u8(..);
                other[at] = *random.choice(&[0, 1, 0x7f, 0x80, 0xff, any]).unwrap();
            }
            std::fs::write(&path, other).unwrap();
            read(&path);
        }
    }

    #[test]
    fn a_chunk_with_a_changed_payload_is_not_taken() {
        let (path, mut bytes) = file(2);
        let at = bytes.windows(50).rposition(|window| window == [1; 50]).unwrap();
        bytes[at] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(read(&path), Some((2, true)));
    }

    #[test]
    fn lengths_that_the_file_does_not_have_reserve_no_memory() {
        let path = TempPath::new("mcap");
        for (kind, length) in [(op::CHUNK, u64::MAX), (op::CHUNK, 1 << 40), (op::SCHEMA, u64::MAX), (0x80, 1 << 62)] {
            let bytes = [mcap::MAGIC, &[kind], &length.to_le_bytes(), &[0; 100]].concat();
            std::fs::write(&path, bytes).unwrap();
            let damage = Reader::open(&path).unwrap().contents().damage.unwrap();
            assert_eq!((damage.at, damage.why), (8, format!("a record of {length} bytes has 100 left")));
        }
    }
}
