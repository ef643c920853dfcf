//! Wiping disks and partitions: the door to the block domain.

use corten_api::storage::block_device_wipe_descriptor::Method as WireMethod;
use corten_api::storage::{BlockDeviceWipe, BlockDeviceWipeDescriptor, BlockDeviceWipeRequest};
use corten_controllers_block::wipe_device::{self, Method, WipeError, Wish};
use tonic::Status;

use super::{Parts, status};

/// More devices than a machine has.
const DEVICES_MAX: usize = 1024;

/// Wipes all of the devices, or none of them if one may not be.
///
/// # Errors
/// `InvalidArgument` for what is no disk or an unknown method, `NotFound`, `FailedPrecondition` with the name of what
/// uses a device, `Internal` when a device refuses.
pub async fn wipe(parts: &Parts, request: &BlockDeviceWipeRequest) -> Result<BlockDeviceWipe, Status> {
    if request.devices.len() > DEVICES_MAX {
        return Err(Status::invalid_argument(format!("more than {DEVICES_MAX} devices")));
    }
    let wishes = request.devices.iter().map(wish).collect::<Result<Vec<Wish>, Status>>()?;
    for wish in &wishes {
        tracing::warn!(device = wish.device, method = ?wish.method, "a client wipes a block device");
    }
    let wiped = wipe_device::wipe(&parts.state, &wishes, &parts.lanes.disks).await;
    wiped.map_err(|error| to_status(&error))?;
    Ok(BlockDeviceWipe::default())
}

fn wish(descriptor: &BlockDeviceWipeDescriptor) -> Result<Wish, Status> {
    let method = match WireMethod::try_from(descriptor.method) {
        Ok(WireMethod::Fast) => Method::Ends,
        Ok(WireMethod::Zeroes) => Method::Zeros,
        Err(_) => {
            let method = descriptor.method;
            return Err(Status::invalid_argument(format!(
                "unsupported wipe method {method}; use FAST or ZEROES"
            )));
        }
    };
    Ok(Wish {
        device: descriptor.device.clone(),
        method,
        drop_partition: descriptor.drop_partition,
        ignore_volumes: descriptor.skip_volume_check,
        ignore_holders: descriptor.skip_secondary_check,
    })
}

fn to_status(error: &WipeError) -> Status {
    match error {
        WipeError::NotFound(_) => Status::not_found(error.to_string()),
        WipeError::NoDisk(_) => Status::invalid_argument(error.to_string()),
        WipeError::Unwritable { .. } | WipeError::InUse { .. } | WipeError::NoTable(_) => {
            Status::failed_precondition(error.to_string())
        }
        WipeError::Failed { .. } => Status::internal(corten_base::chain(error)),
        WipeError::Blocking(error) => status::blocking(error),
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    async fn code(descriptor: BlockDeviceWipeDescriptor) -> Code {
        let request = BlockDeviceWipeRequest { devices: vec![descriptor] };
        wipe(&Parts::for_tests(), &request).await.expect_err("there is no disk").code()
    }

    #[tokio::test]
    async fn what_cannot_be_wiped_has_the_code_that_clients_know() {
        let device = "nonexistent".to_owned();
        let descriptor = BlockDeviceWipeDescriptor { device, ..BlockDeviceWipeDescriptor::default() };
        assert_eq!(code(descriptor.clone()).await, Code::NotFound);
        assert_eq!(code(BlockDeviceWipeDescriptor { method: 7, ..descriptor }).await, Code::InvalidArgument);
        let in_use = WipeError::InUse { device: "sda".to_owned(), user: "volume \"META\"".to_owned() };
        let status = to_status(&in_use);
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert_eq!(status.message(), "blockdevice \"sda\" is in use by volume \"META\"");
        assert_eq!(to_status(&WipeError::NoDisk("loop0".to_owned())).code(), Code::InvalidArgument);
    }

    #[tokio::test]
    async fn no_devices_are_wiped_when_none_are_named() {
        let request = BlockDeviceWipeRequest::default();
        wipe(&Parts::for_tests(), &request).await.expect("nothing to do");
    }
}
