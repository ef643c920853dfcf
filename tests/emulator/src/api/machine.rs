//! `machine.MachineService`: one door per method; what happens behind it stands in the file of its group.

use corten_api::common::Data;
use corten_api::machine::machine_service_server::MachineService;
#[allow(clippy::wildcard_imports, reason = "every message of the service appears below")]
use corten_api::machine::*;
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::stream::Reply;
use super::{absent, etcd, facts, image, logs, machine_of, one};
use crate::life::Call;

/// The service. Which machine is meant comes with each call.
#[derive(Clone, Copy, Debug)]
pub struct Machine;

#[async_trait]
impl MachineService for Machine {
    async fn apply_configuration(
        &self,
        request: Request<ApplyConfigurationRequest>,
    ) -> Result<Response<ApplyConfigurationResponse>, Status> {
        machine_of(&request)?.apply(request.get_ref()).map(one)
    }

    async fn bootstrap(
        &self,
        request: Request<BootstrapRequest>,
    ) -> Result<Response<BootstrapResponse>, Status> {
        if request.get_ref().recover_etcd {
            return Err(absent("Bootstrap with recover_etcd"));
        }
        machine_of(&request)?.bootstrap()?;
        Ok(one(Bootstrap::default()))
    }

    async fn containers(
        &self,
        _: Request<ContainersRequest>,
    ) -> Result<Response<ContainersResponse>, Status> {
        Ok(one(Container::default()))
    }

    async fn cpu_freq_stats(&self, _: Request<()>) -> Result<Response<CpuFreqStatsResponse>, Status> {
        Err(absent("CPUFreqStats"))
    }

    async fn cpu_info(&self, _: Request<()>) -> Result<Response<CpuInfoResponse>, Status> {
        Err(absent("CPUInfo"))
    }

    async fn disk_stats(&self, _: Request<()>) -> Result<Response<DiskStatsResponse>, Status> {
        Err(absent("DiskStats"))
    }

    async fn etcd_member_list(
        &self,
        request: Request<EtcdMemberListRequest>,
    ) -> Result<Response<EtcdMemberListResponse>, Status> {
        etcd::member_list(machine_of(&request)?.as_ref()).map(one)
    }

    async fn etcd_remove_member_by_id(
        &self,
        request: Request<EtcdRemoveMemberByIdRequest>,
    ) -> Result<Response<EtcdRemoveMemberByIdResponse>, Status> {
        etcd::remove_member(machine_of(&request)?.as_ref(), request.get_ref().member_id).map(one)
    }

    async fn etcd_leave_cluster(
        &self,
        request: Request<EtcdLeaveClusterRequest>,
    ) -> Result<Response<EtcdLeaveClusterResponse>, Status> {
        machine_of(&request)?.leave_etcd()?;
        Ok(one(EtcdLeaveCluster::default()))
    }

    async fn etcd_forfeit_leadership(
        &self,
        request: Request<EtcdForfeitLeadershipRequest>,
    ) -> Result<Response<EtcdForfeitLeadershipResponse>, Status> {
        etcd::forfeit_leadership(machine_of(&request)?.as_ref()).map(one)
    }

    async fn etcd_alarm_list(&self, request: Request<()>) -> Result<Response<EtcdAlarmListResponse>, Status> {
        machine_of(&request)?.etcd("etcd alarm list")?;
        Ok(one(EtcdAlarm::default()))
    }

    async fn etcd_alarm_disarm(&self, _: Request<()>) -> Result<Response<EtcdAlarmDisarmResponse>, Status> {
        Err(absent("EtcdAlarmDisarm"))
    }

    async fn etcd_defragment(&self, _: Request<()>) -> Result<Response<EtcdDefragmentResponse>, Status> {
        Err(absent("EtcdDefragment"))
    }

    async fn etcd_status(&self, request: Request<()>) -> Result<Response<EtcdStatusResponse>, Status> {
        etcd::status(machine_of(&request)?.as_ref()).map(one)
    }

    async fn etcd_downgrade_validate(
        &self,
        _: Request<EtcdDowngradeValidateRequest>,
    ) -> Result<Response<EtcdDowngradeValidateResponse>, Status> {
        Err(absent("EtcdDowngradeValidate"))
    }

    async fn etcd_downgrade_enable(
        &self,
        _: Request<EtcdDowngradeEnableRequest>,
    ) -> Result<Response<EtcdDowngradeEnableResponse>, Status> {
        Err(absent("EtcdDowngradeEnable"))
    }

    async fn etcd_downgrade_cancel(
        &self,
        _: Request<()>,
    ) -> Result<Response<EtcdDowngradeCancelResponse>, Status> {
        Err(absent("EtcdDowngradeCancel"))
    }

    async fn hostname(&self, request: Request<()>) -> Result<Response<HostnameResponse>, Status> {
        let hostname = machine_of(&request)?.hostname();
        Ok(one(Hostname { metadata: None, hostname }))
    }

    async fn load_avg(&self, _: Request<()>) -> Result<Response<LoadAvgResponse>, Status> {
        Ok(one(LoadAvg::default()))
    }

    async fn logs_containers(
        &self,
        request: Request<()>,
    ) -> Result<Response<LogsContainersResponse>, Status> {
        Ok(one(logs::containers(machine_of(&request)?.as_ref())))
    }

    async fn memory(&self, request: Request<()>) -> Result<Response<MemoryResponse>, Status> {
        Ok(one(facts::memory(machine_of(&request)?.as_ref())))
    }

    async fn mounts(&self, _: Request<()>) -> Result<Response<MountsResponse>, Status> {
        Ok(one(Mounts::default()))
    }

    async fn network_device_stats(
        &self,
        _: Request<()>,
    ) -> Result<Response<NetworkDeviceStatsResponse>, Status> {
        Err(absent("NetworkDeviceStats"))
    }

    async fn processes(&self, _: Request<()>) -> Result<Response<ProcessesResponse>, Status> {
        Ok(one(Process::default()))
    }

    async fn reboot(&self, request: Request<RebootRequest>) -> Result<Response<RebootResponse>, Status> {
        let actor_id = machine_of(&request)?.begin(Call::Reboot, "reboot")?;
        Ok(one(Reboot { metadata: None, actor_id }))
    }

    async fn restart(&self, _: Request<RestartRequest>) -> Result<Response<RestartResponse>, Status> {
        Err(absent("Restart"))
    }

    async fn rollback(&self, _: Request<RollbackRequest>) -> Result<Response<RollbackResponse>, Status> {
        Err(absent("Rollback"))
    }

    async fn reset(&self, request: Request<ResetRequest>) -> Result<Response<ResetResponse>, Status> {
        let actor_id = machine_of(&request)?.reset(request.get_ref())?;
        Ok(one(Reset { metadata: None, actor_id }))
    }

    async fn service_list(&self, request: Request<()>) -> Result<Response<ServiceListResponse>, Status> {
        Ok(one(facts::services(machine_of(&request)?.as_ref())))
    }

    async fn service_restart(
        &self,
        _: Request<ServiceRestartRequest>,
    ) -> Result<Response<ServiceRestartResponse>, Status> {
        Err(absent("ServiceRestart"))
    }

    async fn service_start(
        &self,
        _: Request<ServiceStartRequest>,
    ) -> Result<Response<ServiceStartResponse>, Status> {
        Err(absent("ServiceStart"))
    }

    async fn service_stop(
        &self,
        _: Request<ServiceStopRequest>,
    ) -> Result<Response<ServiceStopResponse>, Status> {
        Err(absent("ServiceStop"))
    }

    async fn shutdown(
        &self,
        request: Request<ShutdownRequest>,
    ) -> Result<Response<ShutdownResponse>, Status> {
        let actor_id = machine_of(&request)?.begin(Call::Shutdown, "shutdown")?;
        Ok(one(Shutdown { metadata: None, actor_id }))
    }

    async fn stats(&self, _: Request<StatsRequest>) -> Result<Response<StatsResponse>, Status> {
        Ok(one(Stats::default()))
    }

    async fn system_stat(&self, request: Request<()>) -> Result<Response<SystemStatResponse>, Status> {
        Ok(one(facts::system_stat(machine_of(&request)?.as_ref())))
    }

    async fn upgrade(&self, request: Request<UpgradeRequest>) -> Result<Response<UpgradeResponse>, Status> {
        let actor_id = machine_of(&request)?.upgrade(&request.get_ref().image)?;
        Ok(one(Upgrade { metadata: None, ack: "Upgrade request received".to_owned(), actor_id }))
    }

    async fn version(&self, request: Request<()>) -> Result<Response<VersionResponse>, Status> {
        Ok(one(facts::version(machine_of(&request)?.as_ref())))
    }

    async fn generate_client_configuration(
        &self,
        _: Request<GenerateClientConfigurationRequest>,
    ) -> Result<Response<GenerateClientConfigurationResponse>, Status> {
        Err(absent("GenerateClientConfiguration"))
    }

    async fn netstat(&self, _: Request<NetstatRequest>) -> Result<Response<NetstatResponse>, Status> {
        Err(absent("Netstat"))
    }

    async fn meta_write(
        &self,
        request: Request<MetaWriteRequest>,
    ) -> Result<Response<MetaWriteResponse>, Status> {
        let machine = machine_of(&request)?;
        let MetaWriteRequest { key, value } = request.into_inner();
        machine.meta_write(key, &value)?;
        Ok(one(MetaWrite::default()))
    }

    async fn meta_delete(
        &self,
        request: Request<MetaDeleteRequest>,
    ) -> Result<Response<MetaDeleteResponse>, Status> {
        machine_of(&request)?.meta_delete(request.get_ref().key)?;
        Ok(one(MetaDelete::default()))
    }

    async fn image_pull(
        &self,
        request: Request<ImagePullRequest>,
    ) -> Result<Response<ImagePullResponse>, Status> {
        image::check(&request.get_ref().reference)?;
        Ok(one(ImagePull::default()))
    }

    type CopyStream = Reply<Data>;
    async fn copy(&self, _: Request<CopyRequest>) -> Result<Response<Self::CopyStream>, Status> {
        Err(absent("Copy"))
    }

    type DmesgStream = Reply<Data>;
    async fn dmesg(&self, request: Request<DmesgRequest>) -> Result<Response<Self::DmesgStream>, Status> {
        let machine = machine_of(&request)?;
        let DmesgRequest { follow, tail } = request.into_inner();
        Ok(Response::new(logs::dmesg(machine, follow, tail)))
    }

    type EventsStream = Reply<Event>;
    async fn events(&self, request: Request<EventsRequest>) -> Result<Response<Self::EventsStream>, Status> {
        let machine = machine_of(&request)?;
        logs::events(machine, request.into_inner()).map(Response::new)
    }

    type EtcdSnapshotStream = Reply<Data>;
    async fn etcd_snapshot(
        &self,
        _: Request<EtcdSnapshotRequest>,
    ) -> Result<Response<Self::EtcdSnapshotStream>, Status> {
        Err(absent("EtcdSnapshot"))
    }

    type KubeconfigStream = Reply<Data>;
    async fn kubeconfig(&self, _: Request<()>) -> Result<Response<Self::KubeconfigStream>, Status> {
        Err(absent("Kubeconfig"))
    }

    type ListStream = Reply<FileInfo>;
    async fn list(&self, request: Request<ListRequest>) -> Result<Response<Self::ListStream>, Status> {
        logs::list(machine_of(&request)?.as_ref(), &request.get_ref().root).map(Response::new)
    }

    type DiskUsageStream = Reply<DiskUsageInfo>;
    async fn disk_usage(
        &self,
        _: Request<DiskUsageRequest>,
    ) -> Result<Response<Self::DiskUsageStream>, Status> {
        Err(absent("DiskUsage"))
    }

    type LogsStream = Reply<Data>;
    async fn logs(&self, request: Request<LogsRequest>) -> Result<Response<Self::LogsStream>, Status> {
        logs::logs(machine_of(&request)?.as_ref(), request.get_ref()).map(Response::new)
    }

    type ReadStream = Reply<Data>;
    async fn read(&self, request: Request<ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        logs::read(machine_of(&request)?.as_ref(), &request.get_ref().path).map(Response::new)
    }

    type PacketCaptureStream = Reply<Data>;
    async fn packet_capture(
        &self,
        _: Request<PacketCaptureRequest>,
    ) -> Result<Response<Self::PacketCaptureStream>, Status> {
        Err(absent("PacketCapture"))
    }

    type ImageListStream = Reply<ImageListResponse>;
    async fn image_list(
        &self,
        _: Request<ImageListRequest>,
    ) -> Result<Response<Self::ImageListStream>, Status> {
        Ok(Response::new(super::stream::ready(Vec::new())))
    }

    async fn etcd_recover(
        &self,
        _: Request<Streaming<Data>>,
    ) -> Result<Response<EtcdRecoverResponse>, Status> {
        Err(absent("EtcdRecover"))
    }
}
