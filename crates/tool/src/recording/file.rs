//! The MCAP file that is being written, which is good up to the last chunk at any time.

use super::receiver::{Message, metadata};
use super::{ENCODING, STEP_BYTES, STREAM_ENCODING, Stream};
use mcap::records::MessageHeader;
use mcap::write::NoSeek;
use mcap::{McapError, WriteOptions, Writer};
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes after which a chunk is written.
const CHUNK: u64 = 8 << 20;
/// Time after which a chunk is written.
const CHUNK_TIME: Duration = Duration::from_secs(1);

pub struct McapFile {
    path: PathBuf,
    file: Arc<File>,
    writer: Writer<NoSeek<Output>>,
    /// The channel that each region uses now.
    channels: Vec<Option<(Arc<Stream>, u16)>>,
    chunk_bytes: u64,
    chunk_begun: Instant,
    /// Length of the file up to the last chunk.
    good: u64,
}

impl McapFile {
    /// Makes the file for a number of regions.
    ///
    /// # Errors
    /// When it cannot be made, or exists and is not to be replaced.
    pub fn create(path: &Path, is_replaced: bool, regions: usize) -> Result<Self, String> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(!is_replaced).create(is_replaced).truncate(is_replaced);
        let file = options.open(path).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => {
                format!("{} exists: choose another name, or replace it with --overwrite", path.display())
            }
            _ => format!("cannot make {}: {error}", path.display()),
        })?;
        let file = Arc::new(file);
        let output = NoSeek::new(Output { file: file.clone(), written: 0, limit: file_size_limit() });
        let options = WriteOptions::new()
            .compression(None)
            // Chunks end when this file says so, and are written in one piece when they are complete.
            .chunk_size(None)
            .disable_seeking(true)
            // Each chunk has a checksum.
            .calculate_data_section_crc(false)
            .library(concat!("shm2 ", env!("CARGO_PKG_VERSION")));
        let writer = options.create(output).map_err(|error| cannot_write(path, &error))?;
        let channels = vec![None; regions];
        let mut made =
            Self { path: path.into(), file, writer, channels, chunk_bytes: 0, chunk_begun: Instant::now(), good: 0 };
        made.flush()?;
        Ok(made)
    }

    /// Bytes on the disk.
    pub fn bytes(&self) -> u64 {
        self.good
    }

    /// Adds a message of the region with this index and this topic.
    ///
    /// # Errors
    /// When a chunk cannot be written.
    pub fn write(&mut self, region: usize, topic: &str, message: &Message) -> Result<(), String> {
        let channel_id = self.channel(region, topic, &message.stream)?;
        let header = MessageHeader {
            channel_id,
            sequence: message.sequence as u32,
            log_time: message.log_time,
            publish_time: message.publish_time,
        };
        if self.chunk_bytes == 0 {
            self.chunk_begun = Instant::now();
        }
        self.writer.write_to_known_channel(&header, &message.data).map_err(|error| cannot_write(&self.path, &error))?;
        self.chunk_bytes += message.data.len() as u64;
        if self.chunk_bytes >= CHUNK { self.flush() } else { Ok(()) }
    }

    fn channel(&mut self, region: usize, topic: &str, stream: &Arc<Stream>) -> Result<u16, String> {
        if let Some((known, id)) = &self.channels[region]
            && Arc::ptr_eq(known, stream)
        {
            return Ok(*id);
        }
        let fail = |error| cannot_write(&self.path, &error);
        let schema = match stream.to_schema() {
            Some(data) => self.writer.add_schema(&stream.media_type(), STREAM_ENCODING, &data).map_err(fail)?,
            None => 0,
        };
        let id = self.writer.add_channel(schema, topic, ENCODING, &metadata(stream)).map_err(fail)?;
        self.channels[region] = Some((stream.clone(), id));
        Ok(id)
    }

    /// Time until the chunk has to be written.
    pub fn flush_is_due_in(&self) -> Duration {
        if self.chunk_bytes == 0 { CHUNK_TIME } else { CHUNK_TIME.saturating_sub(self.chunk_begun.elapsed()) }
    }

    /// Whether messages were taken that are not in the file yet.
    pub fn has_unwritten(&self) -> bool {
        self.chunk_bytes > 0
    }

    /// Writes the chunk.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn flush(&mut self) -> Result<(), String> {
        self.writer.flush().map_err(|error| cannot_write(&self.path, &error))?;
        self.chunk_bytes = 0;
        self.good = self.file.metadata().map_or(0, |file| file.len());
        Ok(())
    }

    /// Writes the last chunk and the summary.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn finish(&mut self) -> Result<(), String> {
        self.flush()?;
        self.writer.finish().map_err(|error| cannot_write(&self.path, &error))?;
        self.good = self.file.metadata().map_or(0, |file| file.len());
        Ok(())
    }

    /// After a failure: ends the file behind the last chunk, so that every reader accepts it.
    pub fn cut(self) {
        let Self { file, writer, good, .. } = self;
        // It may write once more.
        drop(writer);
        let mut file = &*file;
        // Records: end of data (no checksum) and footer (no summary), then the magic bytes.
        let end = [&[0x0f, 4, 0, 0, 0, 0, 0, 0, 0][..], &[0; 4], &[2, 20, 0, 0, 0, 0, 0, 0, 0], &[0; 20], mcap::MAGIC];
        // What fails leaves a file without an end, which `shm2 replay` reads up to the last chunk.
        if file.set_len(good).is_ok() {
            let _ = file.seek(SeekFrom::End(0)).and_then(|_| file.write_all(&end.concat()));
        }
    }
}

fn cannot_write(path: &Path, error: &McapError) -> String {
    match error {
        McapError::Io(error) => format!("cannot write {}: {error}", path.display()),
        error => format!("cannot write {}: {error}", path.display()),
    }
}

/// The largest file that this process may write. The system ends a process that writes more.
fn file_size_limit() -> u64 {
    #[cfg(unix)]
    return rustix::process::getrlimit(rustix::process::Resource::Fsize).current.unwrap_or(u64::MAX);
    #[cfg(not(unix))]
    u64::MAX
}

struct Output {
    file: Arc<File>,
    written: u64,
    limit: u64,
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.written.saturating_add(bytes.len() as u64) > self.limit {
            return Err(io::Error::other(format!(
                "this process's file size limit is {} bytes (ulimit -f)",
                self.limit
            )));
        }
        let written = (&*self.file).write(&bytes[..bytes.len().min(STEP_BYTES)])?;
        self.written += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        (&*self.file).flush()
    }
}
