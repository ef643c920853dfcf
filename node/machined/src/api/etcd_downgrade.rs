//! Going back to an older minor version of etcd: asked for, prepared, given up.
//!
//! The cluster lowers the version of its data format while members of the newer version still run; they are replaced
//! by older ones afterwards.

use corten_api::machine::{
    EtcdClusterDowngrade, EtcdDowngradeCancel, EtcdDowngradeEnable, EtcdDowngradeValidate,
};
use corten_etcd::Downgrade;
use tonic::Status;

use super::Parts;
use super::etcd::{local, refused};
use super::kubernetes::need_control_plane;

/// Oldest version that understands the format to which a newer one can go back.
const OLDEST: (u32, u32) = (3, 5);

/// Whether the cluster could go back to a version.
///
/// # Errors
/// `InvalidArgument` for what is no version of etcd to go back to, otherwise what etcd says.
pub async fn validate(parts: &Parts, version: &str) -> Result<EtcdDowngradeValidate, Status> {
    need_control_plane(parts, "etcd downgrade validate")?;
    let cluster_downgrade = step(parts, Downgrade::Validate, target(version)?).await?;
    Ok(EtcdDowngradeValidate { cluster_downgrade, ..EtcdDowngradeValidate::default() })
}

/// Lets the cluster go back to a version.
///
/// # Errors
/// `InvalidArgument` for what is no version of etcd to go back to, otherwise what etcd says.
pub async fn enable(parts: &Parts, version: &str) -> Result<EtcdDowngradeEnable, Status> {
    need_control_plane(parts, "etcd downgrade enable")?;
    let cluster_downgrade = step(parts, Downgrade::Enable, target(version)?).await?;
    Ok(EtcdDowngradeEnable { cluster_downgrade, ..EtcdDowngradeEnable::default() })
}

/// Lets the cluster stay at the version that it has.
///
/// # Errors
/// What etcd says.
pub async fn cancel(parts: &Parts) -> Result<EtcdDowngradeCancel, Status> {
    need_control_plane(parts, "etcd downgrade cancel")?;
    let cluster_downgrade = step(parts, Downgrade::Cancel, "").await?;
    Ok(EtcdDowngradeCancel { cluster_downgrade, ..EtcdDowngradeCancel::default() })
}

async fn step(parts: &Parts, step: Downgrade, version: &str) -> Result<Option<EtcdClusterDowngrade>, Status> {
    let cluster_version = local(&parts.state)?.downgrade(step, version).await;
    let cluster_version = cluster_version.map_err(|error| refused(&error))?;
    Ok(Some(EtcdClusterDowngrade { cluster_version }))
}

/// A version as MAJOR.MINOR that a cluster can go back to.
fn target(text: &str) -> Result<&str, Status> {
    let number = |digits: &str| {
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| digits.parse::<u32>().ok()).flatten()
    };
    let version = text.split_once('.').and_then(|(major, minor)| Some((number(major)?, number(minor)?)));
    match version {
        Some(version) if version >= OLDEST => Ok(text),
        Some(_) => Err(Status::invalid_argument(format!("version {text:?} is older than 3.5"))),
        None => Err(Status::invalid_argument(format!("version {text:?} is not MAJOR.MINOR, such as 3.6"))),
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[test]
    fn versions_are_minor_ones_that_can_be_gone_back_to() {
        for version in ["3.5", "3.6", "4.0"] {
            assert_eq!(target(version).expect("a version"), version);
        }
        for version in ["", "3", "3.", ".6", "3.6.1", "v3.6", "3.4", "2.9", "3.+6", "3.x", "3.99999999999"] {
            assert_eq!(target(version).expect_err(version).code(), Code::InvalidArgument, "{version}");
        }
    }

    #[tokio::test]
    async fn workers_have_no_etcd() {
        let parts = Parts::for_tests();
        assert_eq!(validate(&parts, "3.6").await.expect_err("no etcd").code(), Code::Unimplemented);
        assert_eq!(enable(&parts, "3.6").await.expect_err("no etcd").code(), Code::Unimplemented);
        assert_eq!(cancel(&parts).await.expect_err("no etcd").code(), Code::Unimplemented);
    }
}
