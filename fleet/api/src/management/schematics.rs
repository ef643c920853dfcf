//! Media that machines boot from: what is in them, and where they are downloaded (fleet.md 2.4, 11.3).
//!
//! ```text
//! CreateSchematic         join arguments, wishes ─▶ Schematic ─┐
//! CreateSchematicFromRaw  text ───────────────────▶ Schematic ─┴▶ ImageFactory ─▶ id, URL for network boot
//! GetBootAssetURL         id, version, kind of medium ─▶ URL
//! ```
//!
//! Making the media is another crate's business.

use std::collections::{BTreeMap, HashMap};

use corten_api::management::boot_asset_url_request::BootAssetKind;
use corten_api::management::create_schematic_request::{
    Overlay as OverlayWish, SiderolinkGrpcTunnelMode as TunnelMode,
};
use corten_api::management::{
    BootAssetUrlRequest, BootAssetUrlResponse, CreateSchematicFromRawRequest, CreateSchematicRequest,
    CreateSchematicResponse, GetMachineJoinConfigRequest, SchematicBootloader,
};
use corten_config::values;
use corten_fleet_resources::link::{SiderolinkApiConfig, SiderolinkConfig};
use corten_fleet_schematic::{
    Asset, AssetError, Bootloader, Overlay, Schematic, SchematicId, Target, Wish, compose, storage_key,
};
use tonic::{Response, Status};

use super::access::Answering;
use super::{Answered, Management};
use crate::virtual_resources::platforms;

/// What network boot is for when no medium is named.
const USUAL_TARGET: &str = "metal-amd64";
/// Longest version that is understood, bytes.
const VERSION_BYTES_MAX: usize = 64;
/// What is told when there is no factory.
const NO_FACTORY: &str = "this manager makes no media: it has no images to make them from. Post a schematic \
                          to the image factory that FeaturesConfigs names, with the arguments that \
                          GetMachineJoinConfig answers";

/// Where an image factory is reached; URLs without slash at their ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FactoryUrls {
    /// By people and their tools.
    pub images: String,
    /// By machines that boot from the network.
    pub network_boot: String,
}

/// The image factory of a manager that makes media itself.
pub trait ImageFactory: Send + Sync {
    /// Where it is reached; empty without a factory.
    fn urls(&self) -> FactoryUrls;

    /// Keeps a schematic, so that its media can be downloaded. `version` is the one that is wanted, without `v`; empty
    /// for any.
    ///
    /// # Errors
    /// `Unimplemented` without a factory, `InvalidArgument` for what its images cannot have, `NotFound` for a version
    /// that it has no image of.
    fn register<'a>(&'a self, schematic: &'a Schematic, version: &'a str) -> Answering<'a, ()>;
}

/// Makes nothing, and says so.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoImageFactory;

impl ImageFactory for NoImageFactory {
    fn urls(&self) -> FactoryUrls {
        FactoryUrls::default()
    }

    fn register<'a>(&'a self, _: &'a Schematic, _: &'a str) -> Answering<'a, ()> {
        Box::pin(std::future::ready(Err(Status::unimplemented(NO_FACTORY))))
    }
}

impl Management {
    pub(super) async fn new_schematic(
        &self,
        request: CreateSchematicRequest,
    ) -> Answered<CreateSchematicResponse> {
        let urls = self.factory_urls()?;
        let factory = request.image_factory_url.trim_end_matches('/');
        if !factory.is_empty() && factory != urls.images {
            let text = format!("the image factory is {}, not {factory:?}; leave it out", urls.images);
            return Err(Status::invalid_argument(text));
        }
        let tunnels = self.tunnels(request.siderolink_grpc_tunnel_mode());
        let joining =
            GetMachineJoinConfigRequest { use_grpc_tunnel: tunnels, join_token: request.join_token.clone() };
        let arguments = self.machine_join_config(&joining)?.into_inner().kernel_args;
        let (version, target) = (bare(&request.talos_version).to_owned(), target(&request.media_id));
        let schematic = compose(&arguments, wish(request)?);
        let schematic = schematic.map_err(|error| Status::invalid_argument(error.to_string()))?;
        self.images.register(&schematic, &version).await?;
        answer(&urls, &schematic, &version, &target, tunnels)
    }

    pub(super) async fn raw_schematic(
        &self,
        request: CreateSchematicFromRawRequest,
    ) -> Answered<CreateSchematicResponse> {
        let urls = self.factory_urls()?;
        let text = std::str::from_utf8(&request.raw_schematic)
            .map_err(|_| Status::invalid_argument("the schematic is no text in UTF-8"))?;
        let schematic =
            Schematic::parse(text).map_err(|problems| Status::invalid_argument(problems.to_string()))?;
        let version = bare(&request.talos_version);
        self.images.register(&schematic, version).await?;
        let has_tunnel = |argument: &String| argument.contains("grpc_tunnel=true");
        let tunnels = schematic.customization.extra_kernel_args.iter().any(has_tunnel);
        answer(&urls, &schematic, version, USUAL_TARGET, tunnels)
    }

    pub(super) fn boot_asset(&self, request: &BootAssetUrlRequest) -> Answered<BootAssetUrlResponse> {
        let urls = self.factory_urls()?;
        let id: Result<SchematicId, _> = request.schematic_id.parse();
        let id = id.map_err(|error| Status::invalid_argument(error.to_string()))?;
        let version = bare(&request.talos_version);
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-".contains(&byte);
        if !(1..=VERSION_BYTES_MAX).contains(&version.len()) || !version.bytes().all(is_plain) {
            return Err(Status::invalid_argument("the version is none; name one such as 1.14.1"));
        }
        let (version, file) = (format!("v{version}"), file_name(request)?);
        let (base, prefix) = match request.boot_asset_kind() {
            BootAssetKind::Pxe => (&urls.network_boot, "pxe"),
            _ => (&urls.images, "image"),
        };
        Ok(Response::new(BootAssetUrlResponse {
            url: format!("{base}/{prefix}/{id}/{version}/{file}"),
            headers: HashMap::new(),
            image_factory_host: host(base),
            storage_key: storage_key(base, prefix, id.as_str(), &version, &file),
        }))
    }

    fn factory_urls(&self) -> Result<FactoryUrls, Status> {
        let urls = self.images.urls();
        if urls.images.is_empty() { Err(Status::unimplemented(NO_FACTORY)) } else { Ok(urls) }
    }

    /// Whether machines of a medium tunnel through gRPC: all of them, if the manager wants it so.
    fn tunnels(&self, mode: TunnelMode) -> bool {
        let config = self.state.get::<SiderolinkApiConfig>(SiderolinkConfig::ID);
        mode == TunnelMode::Enabled || config.is_some_and(|config| config.enforce_grpc_tunnel)
    }
}

/// What a person wishes, beside joining.
fn wish(request: CreateSchematicRequest) -> Result<Wish, Status> {
    let bootloader = match request.bootloader() {
        SchematicBootloader::BootAuto => Bootloader::Auto,
        SchematicBootloader::BootDual => Bootloader::DualBoot,
        SchematicBootloader::BootSd => Bootloader::SdBoot,
        SchematicBootloader::BootGrub => Bootloader::Grub,
    };
    let overlay = match request.overlay {
        Some(wish) => overlay(wish)?,
        None => board(&request.media_id),
    };
    Ok(Wish {
        extensions: request.extensions,
        kernel_args: request.extra_kernel_args,
        meta: request.meta_values.into_iter().collect::<BTreeMap<_, _>>(),
        overlay,
        bootloader,
        embedded_machine_configuration: request.embedded_machine_config,
    })
}

/// The overlay of the board that a medium is for, if it is for one.
fn board(medium: &str) -> Overlay {
    let Some(board) = platforms::board_of_medium(medium) else { return Overlay::default() };
    Overlay { image: board.overlay_image, name: board.overlay_name, ..Overlay::default() }
}

fn overlay(wish: OverlayWish) -> Result<Overlay, Status> {
    let OverlayWish { image, name, options } = wish;
    // Options of any shape are read as those of a schematic are.
    let indented: String = options.lines().map(|line| format!("    {line}\n")).collect();
    let text = match options.trim() {
        "" => "customization: {}".to_owned(),
        _ => format!("overlay:\n  options:\n{indented}"),
    };
    let read = Schematic::parse(&text);
    let read = read.map_err(|problems| Status::invalid_argument(format!("overlay options: {problems}")))?;
    Ok(Overlay { image, name, options: read.overlay.options })
}

fn answer(
    urls: &FactoryUrls,
    schematic: &Schematic,
    version: &str,
    target: &str,
    tunnels: bool,
) -> Answered<CreateSchematicResponse> {
    let id = schematic.id();
    let pxe_url = match version {
        "" => String::new(),
        _ => format!("{}/pxe/{id}/v{version}/{target}", urls.network_boot),
    };
    Ok(Response::new(CreateSchematicResponse {
        schematic_id: id.to_string(),
        pxe_url,
        grpc_tunnel_enabled: tunnels,
        schematic_yml: schematic.canonical(),
    }))
}

/// What kind of machine a medium is for: its id is the name of its file.
fn target(medium: &str) -> String {
    let begin = medium.split('.').next().unwrap_or_default();
    let known = begin.parse::<Target>().ok().filter(|_| platforms::board_of_medium(medium).is_none());
    known.map_or_else(|| USUAL_TARGET.to_owned(), |target| target.to_string())
}

/// The name of a medium at the factory.
fn file_name(request: &BootAssetUrlRequest) -> Result<String, Status> {
    let secure_boot = if request.secure_boot { "-secureboot" } else { "" };
    let target = format!("{}-{}{secure_boot}", request.platform, request.architecture);
    let wrong = |error: AssetError| Status::invalid_argument(error.to_string());
    match request.boot_asset_kind() {
        BootAssetKind::Unset => {
            Err(Status::invalid_argument("say whether it is a disk, an ISO or network boot"))
        }
        BootAssetKind::Pxe => target.parse::<Target>().map(|target| target.to_string()).map_err(wrong),
        BootAssetKind::Iso => {
            format!("{target}.iso").parse::<Asset>().map(|asset| asset.to_string()).map_err(wrong)
        }
        BootAssetKind::Disk => {
            let name = format!("{target}.{}", request.format);
            name.parse::<Asset>().map(|asset| asset.to_string()).map_err(wrong)
        }
    }
}

/// A version without its `v`.
fn bare(version: &str) -> &str {
    version.strip_prefix('v').unwrap_or(version)
}

/// Host of a URL, with its port if it has one.
fn host(url: &str) -> String {
    let Some(url) = values::url(url) else { return String::new() };
    url.port.map_or_else(|| url.host.clone(), |port| format!("{}:{port}", url.host))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use corten_fleet_resources::link::{DefaultJoinToken, JoinToken};
    use parking_lot::Mutex;
    use tonic::Code;

    use super::*;
    use crate::management::testing::management;
    use crate::management::{DEFAULT_JOIN_TOKEN, ManagementOptions};
    use crate::testing::Fleet;

    /// Keeps everything in memory.
    #[derive(Default)]
    struct Shelf(Mutex<Vec<(String, String)>>);

    impl ImageFactory for Shelf {
        fn urls(&self) -> FactoryUrls {
            let [images, network_boot] = ["https://fleet:8080", "http://fleet:8090"].map(str::to_owned);
            FactoryUrls { images, network_boot }
        }

        fn register<'a>(&'a self, schematic: &'a Schematic, version: &'a str) -> Answering<'a, ()> {
            self.0.lock().push((schematic.canonical(), version.to_owned()));
            Box::pin(std::future::ready(Ok(())))
        }
    }

    fn service(fleet: &Fleet) -> (Management, Arc<Shelf>) {
        let shelf = Arc::new(Shelf::default());
        let mut service = management(fleet, ManagementOptions::default());
        service.images = shelf.clone();
        let config = SiderolinkApiConfig {
            machine_api_advertised_url: "http://fleet:8090".to_owned(),
            events_port: 8090,
            logs_port: 8092,
            ..SiderolinkApiConfig::default()
        };
        fleet.put(SiderolinkConfig::ID, config);
        fleet.put("abc", JoinToken::default());
        fleet.put(DEFAULT_JOIN_TOKEN, DefaultJoinToken { token_id: "abc".to_owned() });
        (service, shelf)
    }

    async fn ask(
        service: &Management,
        request: CreateSchematicRequest,
    ) -> Result<CreateSchematicResponse, Status> {
        service.new_schematic(request).await.map(Response::into_inner)
    }

    #[tokio::test]
    async fn a_schematic_joins_first_and_its_url_is_that_of_its_medium() {
        let fleet = Fleet::new();
        let (service, shelf) = service(&fleet);
        let request = CreateSchematicRequest {
            extra_kernel_args: vec!["console=ttyS1".to_owned()],
            meta_values: HashMap::from([(12, "machineLabels:\n    rack: r1\n".to_owned())]),
            talos_version: "v1.14.1".to_owned(),
            media_id: "metal-arm64.iso".to_owned(),
            siderolink_grpc_tunnel_mode: TunnelMode::Enabled.into(),
            ..CreateSchematicRequest::default()
        };
        let made = ask(&service, request).await.expect("made");
        let schematic = Schematic::parse(&made.schematic_yml).expect("a schematic");
        let arguments = &schematic.customization.extra_kernel_args;
        assert_eq!(arguments[0], "siderolink.api=grpc://fleet:8090?jointoken=abc&grpc_tunnel=true");
        assert_eq!(arguments.last().map(String::as_str), Some("console=ttyS1"));
        assert_eq!(schematic.id().as_str(), made.schematic_id);
        let url = format!("http://fleet:8090/pxe/{}/v1.14.1/metal-arm64", made.schematic_id);
        assert!(made.pxe_url == url && made.grpc_tunnel_enabled, "{}", made.pxe_url);
        assert_eq!(*shelf.0.lock(), [(made.schematic_yml, "1.14.1".to_owned())]);
    }

    #[tokio::test]
    async fn boards_have_their_overlay_and_overlays_their_options() {
        let fleet = Fleet::new();
        let (service, _) = service(&fleet);
        let board = CreateSchematicRequest {
            media_id: "rpi_generic-arm64.raw.xz".to_owned(),
            ..CreateSchematicRequest::default()
        };
        let made = ask(&service, board).await.expect("made");
        assert!(made.schematic_yml.contains("name: rpi_generic") && made.pxe_url.is_empty());
        let overlay = |options: &str| CreateSchematicRequest {
            overlay: Some(OverlayWish {
                image: "siderolabs/sbc-raspberrypi".to_owned(),
                name: "rpi_generic".to_owned(),
                options: options.to_owned(),
            }),
            ..CreateSchematicRequest::default()
        };
        let made = ask(&service, overlay("a: 1\nb:\n  c: d\n")).await.expect("made");
        assert!(made.schematic_yml.contains("        a: 1\n"), "{}", made.schematic_yml);
        let status = ask(&service, overlay("[")).await.expect_err("no YAML");
        assert_eq!(status.code(), Code::InvalidArgument);
    }

    #[tokio::test]
    async fn what_is_wrong_is_refused_and_without_a_factory_everything() {
        let fleet = Fleet::new();
        let (service, _) = service(&fleet);
        let elsewhere = CreateSchematicRequest {
            image_factory_url: "https://factory.talos.dev".to_owned(),
            ..CreateSchematicRequest::default()
        };
        let status = service.new_schematic(elsewhere).await.expect_err("elsewhere");
        assert!(status.message().contains("the image factory is https://fleet:8080"), "{status}");
        let raw = CreateSchematicFromRawRequest {
            raw_schematic: b"{a".to_vec(),
            ..CreateSchematicFromRawRequest::default()
        };
        assert_eq!(service.raw_schematic(raw).await.expect_err("no YAML").code(), Code::InvalidArgument);
        let none = management(&fleet, ManagementOptions::default());
        let status = none.new_schematic(CreateSchematicRequest::default()).await.expect_err("none");
        assert_eq!(status.code(), Code::Unimplemented);
        let status = none.boot_asset(&BootAssetUrlRequest::default()).expect_err("none");
        assert_eq!(status.code(), Code::Unimplemented);
    }

    #[tokio::test]
    async fn media_are_found_by_their_kind() {
        let fleet = Fleet::new();
        let (service, _) = service(&fleet);
        let id = Schematic::default().id().to_string();
        let request = |kind: BootAssetKind, format: &str| BootAssetUrlRequest {
            talos_version: "1.14.1".to_owned(),
            schematic_id: id.clone(),
            boot_asset_kind: kind.into(),
            platform: "metal".to_owned(),
            architecture: "amd64".to_owned(),
            format: format.to_owned(),
            ..BootAssetUrlRequest::default()
        };
        for (kind, format, end) in [
            (BootAssetKind::Iso, "", "https://fleet:8080/image/ID/v1.14.1/metal-amd64.iso"),
            (BootAssetKind::Disk, "raw.xz", "https://fleet:8080/image/ID/v1.14.1/metal-amd64.raw.xz"),
            (BootAssetKind::Pxe, "", "http://fleet:8090/pxe/ID/v1.14.1/metal-amd64"),
        ] {
            let found = service.boot_asset(&request(kind, format)).expect("a URL").into_inner();
            assert_eq!(found.url, end.replace("ID", &id));
            assert!(found.image_factory_host.starts_with("fleet:80") && found.storage_key.len() == 64);
        }
        for wrong in [
            request(BootAssetKind::Unset, ""),
            request(BootAssetKind::Disk, "tape"),
            BootAssetUrlRequest { talos_version: "../x".to_owned(), ..request(BootAssetKind::Iso, "") },
            BootAssetUrlRequest { schematic_id: "x".to_owned(), ..request(BootAssetKind::Iso, "") },
        ] {
            assert_eq!(service.boot_asset(&wrong).expect_err("wrong").code(), Code::InvalidArgument);
        }
    }
}
