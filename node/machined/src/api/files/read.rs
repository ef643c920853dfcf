//! `Read`: the contents of a regular file.

use std::fs;
use std::io::Read;

use bytes::Bytes;
use corten_api::common::Data;
use tonic::Status;

use super::super::status;
use super::super::stream::{Step, Work, data};
use super::absolute;
use super::open::{Present, open};

/// Size of the blocks that are sent (clients do not depend on line ends).
const BLOCK_BYTES: usize = 4096;

/// A file that is being read.
#[derive(Debug)]
pub struct Reading {
    file: Present,
}

/// The contents of a file.
///
/// # Errors
/// When it does not exist or is no regular file.
pub fn read(path: &str) -> Result<Reading, Status> {
    let path = absolute(path);
    let metadata = fs::metadata(&path).map_err(|error| status::file(&path, &error))?;
    if !metadata.is_file() {
        return Err(Status::invalid_argument(format!("{} is not a regular file", path.display())));
    }
    let file = open(&path).map_err(|error| status::file(&path, &error))?;
    Ok(Reading { file })
}

impl Work for Reading {
    type Item = Data;

    fn step(&mut self, out: &mut Vec<Data>) -> Result<Step, Status> {
        let mut block = vec![0; BLOCK_BYTES];
        let read = self.file.read(&mut block).map_err(|error| Status::unknown(error.to_string()))?;
        if read == 0 {
            return Ok(Step::Done);
        }
        block.truncate(read);
        out.push(data(Bytes::from(block)));
        Ok(Step::More)
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::super::testing::{run, tree};
    use super::*;

    #[test]
    fn only_regular_files_are_read() {
        let folder = tree();
        let root = folder.path().display().to_string();
        let blocks = run(read(&format!("{root}/sub/file"))).expect("blocks");
        assert_eq!(blocks.iter().map(|block| block.bytes.as_ref()).collect::<Vec<_>>(), [b"hello"]);
        assert_eq!(read(&root).expect_err("a folder").code(), Code::InvalidArgument);
        assert_eq!(read("/no/such").expect_err("absent").code(), Code::NotFound);
    }
}
