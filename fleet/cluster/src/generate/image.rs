//! The reference of the image that installs a machine.
//!
//! ```text
//! <factory>/[<platform>-]installer[-secureboot]/<schematic>:v<version>      the image of a factory
//! <installer>:v<version>                                                    another image
//! ```

use corten_fleet_resources::machine::{InstallImage, SecurityState};

use crate::{InvalidVersion, TalosVersion};

/// A reference that cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The machine has not said something yet.
    #[error("waiting for the machine to tell {0}")]
    Unknown(&'static str),
    /// The version to install is none.
    #[error("the version to install cannot be read; correct the version of the cluster")]
    Version(#[source] InvalidVersion),
}

/// The reference of the image that installs a machine. The platform is part of it since 1.10. A machine whose image no
/// factory made gets `plain_installer`, such as `ghcr.io/siderolabs/installer`.
///
/// # Errors
/// When the schematic of the machine or its Secure Boot is not known yet: the wrong installer makes a machine with
/// Secure Boot useless.
pub fn install_image(image: &InstallImage, plain_installer: &str) -> Result<String, ImageError> {
    let version = TalosVersion::parse(&image.talos_version).map_err(ImageError::Version)?;
    if !image.schematic_initialized {
        return Err(ImageError::Unknown("its schematic"));
    }
    if image.schematic_invalid {
        return Ok(format!("{plain_installer}:v{version}"));
    }
    let (host, schematic) = (&image.image_factory_host, &image.schematic_id);
    for (part, what) in [(schematic, "its schematic"), (host, "its image factory")] {
        if part.is_empty() {
            return Err(ImageError::Unknown(what));
        }
    }
    let secure_boot = match &image.security_state {
        None => return Err(ImageError::Unknown("whether Secure Boot is in force")),
        Some(SecurityState { secure_boot: true, .. }) => "-secureboot",
        Some(_) => "",
    };
    let platform = match image.platform.as_str() {
        platform if version.is_since(1, 10) && !platform.is_empty() => format!("{platform}-"),
        _ => String::new(),
    };
    Ok(format!("{host}/{platform}installer{secure_boot}/{schematic}:v{version}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = "ghcr.io/siderolabs/installer";

    fn image(edit: impl FnOnce(&mut InstallImage)) -> Result<String, ImageError> {
        let mut image = InstallImage {
            talos_version: "1.12.4".to_owned(),
            schematic_id: "3f".to_owned(),
            schematic_initialized: true,
            schematic_invalid: false,
            platform: "metal".to_owned(),
            security_state: Some(SecurityState::default()),
            image_factory_host: "factory.talos.dev".to_owned(),
        };
        edit(&mut image);
        install_image(&image, PLAIN)
    }

    #[test]
    fn the_platform_is_part_of_the_name_since_1_10() {
        assert_eq!(image(|_| ()).unwrap(), "factory.talos.dev/metal-installer/3f:v1.12.4");
        let old = image(|image| "1.9.6".clone_into(&mut image.talos_version));
        assert_eq!(old.unwrap(), "factory.talos.dev/installer/3f:v1.9.6");
        let unknown = image(|image| image.platform.clear());
        assert_eq!(unknown.unwrap(), "factory.talos.dev/installer/3f:v1.12.4");
    }

    #[test]
    fn secure_boot_has_its_own_installer() {
        let secure = image(|image| {
            image.security_state = Some(SecurityState { secure_boot: true, booted_with_uki: true });
        });
        assert_eq!(secure.unwrap(), "factory.talos.dev/metal-installer-secureboot/3f:v1.12.4");
    }

    #[test]
    fn an_image_that_no_factory_made_gets_the_plain_installer() {
        let plain = image(|image| {
            image.schematic_invalid = true;
            image.security_state = None;
        });
        assert_eq!(plain.unwrap(), "ghcr.io/siderolabs/installer:v1.12.4");
    }

    #[test]
    fn what_the_machine_has_not_said_is_waited_for() {
        let edits: [fn(&mut InstallImage); 4] = [
            |image| image.schematic_initialized = false,
            |image| image.schematic_id.clear(),
            |image| image.image_factory_host.clear(),
            |image| image.security_state = None,
        ];
        for edit in edits {
            assert!(matches!(image(edit), Err(ImageError::Unknown(_))));
        }
        assert!(matches!(image(|image| image.talos_version.clear()), Err(ImageError::Version(_))));
    }
}
