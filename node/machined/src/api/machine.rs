//! `machine.MachineService`: one door per method; what happens behind it stands in the file of its group.

use corten_api::common::Data;
use corten_api::machine::machine_service_server::MachineService;
#[allow(clippy::wildcard_imports, reason = "every message of the service appears below")]
use corten_api::machine::*;
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::stream::{self, Reply, Work};
use super::{
    Parts, capture, dmesg, etcd, etcd_downgrade, events, files, images, kubernetes, lifecycle, netstat, one,
    power, recover, reset, services, storage, system, workloads,
};

/// The service over the machine's parts.
#[derive(Clone)]
pub struct Machine(pub Parts);

impl Machine {
    /// A reply made of work on files.
    fn files<W, F>(&self, open: F) -> Reply<W::Item>
    where
        W: Work,
        F: FnOnce() -> Result<W, Status> + Send + 'static,
    {
        stream::from_steps(&self.0.lanes.files, open)
    }
}

#[async_trait]
impl MachineService for Machine {
    async fn apply_configuration(
        &self,
        request: Request<ApplyConfigurationRequest>,
    ) -> Result<Response<ApplyConfigurationResponse>, Status> {
        self.0.configuration.apply(request.into_inner()).await.map(one)
    }

    async fn bootstrap(
        &self,
        request: Request<BootstrapRequest>,
    ) -> Result<Response<BootstrapResponse>, Status> {
        kubernetes::bootstrap(&self.0, request.get_ref()).await.map(one)
    }

    async fn containers(
        &self,
        request: Request<ContainersRequest>,
    ) -> Result<Response<ContainersResponse>, Status> {
        workloads::containers(request.get_ref()).await.map(Response::new)
    }

    async fn cpu_freq_stats(&self, _: Request<()>) -> Result<Response<CpuFreqStatsResponse>, Status> {
        system::cpu_freq(&self.0).await.map(one)
    }

    async fn cpu_info(&self, _: Request<()>) -> Result<Response<CpuInfoResponse>, Status> {
        system::cpu_info(&self.0).await.map(one)
    }

    async fn disk_stats(&self, _: Request<()>) -> Result<Response<DiskStatsResponse>, Status> {
        system::disk_stats(&self.0).await.map(one)
    }

    async fn etcd_member_list(
        &self,
        request: Request<EtcdMemberListRequest>,
    ) -> Result<Response<EtcdMemberListResponse>, Status> {
        etcd::member_list(&self.0, request.into_inner()).await.map(one)
    }

    async fn etcd_remove_member_by_id(
        &self,
        request: Request<EtcdRemoveMemberByIdRequest>,
    ) -> Result<Response<EtcdRemoveMemberByIdResponse>, Status> {
        etcd::remove_member(&self.0, request.get_ref().member_id).await.map(one)
    }

    async fn etcd_leave_cluster(
        &self,
        _: Request<EtcdLeaveClusterRequest>,
    ) -> Result<Response<EtcdLeaveClusterResponse>, Status> {
        etcd::leave(&self.0).await.map(one)
    }

    async fn etcd_forfeit_leadership(
        &self,
        _: Request<EtcdForfeitLeadershipRequest>,
    ) -> Result<Response<EtcdForfeitLeadershipResponse>, Status> {
        etcd::forfeit_leadership(&self.0).await.map(one)
    }

    async fn etcd_alarm_list(&self, _: Request<()>) -> Result<Response<EtcdAlarmListResponse>, Status> {
        etcd::alarm_list(&self.0).await.map(one)
    }

    async fn etcd_alarm_disarm(&self, _: Request<()>) -> Result<Response<EtcdAlarmDisarmResponse>, Status> {
        etcd::alarm_disarm(&self.0).await.map(one)
    }

    async fn etcd_defragment(&self, _: Request<()>) -> Result<Response<EtcdDefragmentResponse>, Status> {
        etcd::defragment(&self.0).await.map(one)
    }

    async fn etcd_status(&self, _: Request<()>) -> Result<Response<EtcdStatusResponse>, Status> {
        etcd::status(&self.0).await.map(one)
    }

    async fn etcd_downgrade_validate(
        &self,
        request: Request<EtcdDowngradeValidateRequest>,
    ) -> Result<Response<EtcdDowngradeValidateResponse>, Status> {
        etcd_downgrade::validate(&self.0, &request.get_ref().version).await.map(one)
    }

    async fn etcd_downgrade_enable(
        &self,
        request: Request<EtcdDowngradeEnableRequest>,
    ) -> Result<Response<EtcdDowngradeEnableResponse>, Status> {
        etcd_downgrade::enable(&self.0, &request.get_ref().version).await.map(one)
    }

    async fn etcd_downgrade_cancel(
        &self,
        _: Request<()>,
    ) -> Result<Response<EtcdDowngradeCancelResponse>, Status> {
        etcd_downgrade::cancel(&self.0).await.map(one)
    }

    async fn hostname(&self, _: Request<()>) -> Result<Response<HostnameResponse>, Status> {
        Ok(one(system::hostname()))
    }

    async fn load_avg(&self, _: Request<()>) -> Result<Response<LoadAvgResponse>, Status> {
        system::load_avg(&self.0).await.map(one)
    }

    async fn logs_containers(&self, _: Request<()>) -> Result<Response<LogsContainersResponse>, Status> {
        Ok(one(services::logs_containers()))
    }

    async fn memory(&self, _: Request<()>) -> Result<Response<MemoryResponse>, Status> {
        system::memory(&self.0).await.map(one)
    }

    async fn mounts(&self, _: Request<()>) -> Result<Response<MountsResponse>, Status> {
        system::mounts(&self.0).await.map(one)
    }

    async fn network_device_stats(
        &self,
        _: Request<()>,
    ) -> Result<Response<NetworkDeviceStatsResponse>, Status> {
        system::network_device_stats(&self.0).await.map(one)
    }

    async fn processes(&self, _: Request<()>) -> Result<Response<ProcessesResponse>, Status> {
        system::processes(&self.0).await.map(one)
    }

    async fn reboot(&self, request: Request<RebootRequest>) -> Result<Response<RebootResponse>, Status> {
        power::reboot(&self.0, request.get_ref()).await.map(one)
    }

    async fn restart(&self, request: Request<RestartRequest>) -> Result<Response<RestartResponse>, Status> {
        workloads::restart(request.get_ref()).await.map(Response::new)
    }

    async fn rollback(&self, _: Request<RollbackRequest>) -> Result<Response<RollbackResponse>, Status> {
        lifecycle::rollback(&self.0).map(one)
    }

    async fn reset(&self, request: Request<ResetRequest>) -> Result<Response<ResetResponse>, Status> {
        reset::reset(&self.0, request.get_ref()).await.map(one)
    }

    async fn service_list(&self, _: Request<()>) -> Result<Response<ServiceListResponse>, Status> {
        Ok(one(services::list(&self.0)))
    }

    async fn service_restart(
        &self,
        request: Request<ServiceRestartRequest>,
    ) -> Result<Response<ServiceRestartResponse>, Status> {
        services::restart(&self.0, &request.get_ref().id).map(one)
    }

    async fn service_start(
        &self,
        request: Request<ServiceStartRequest>,
    ) -> Result<Response<ServiceStartResponse>, Status> {
        services::start(&self.0, &request.get_ref().id).map(one)
    }

    async fn service_stop(
        &self,
        request: Request<ServiceStopRequest>,
    ) -> Result<Response<ServiceStopResponse>, Status> {
        services::stop(&self.0, &request.get_ref().id).map(one)
    }

    async fn shutdown(
        &self,
        request: Request<ShutdownRequest>,
    ) -> Result<Response<ShutdownResponse>, Status> {
        power::shutdown(&self.0, request.get_ref()).await.map(one)
    }

    async fn stats(&self, request: Request<StatsRequest>) -> Result<Response<StatsResponse>, Status> {
        workloads::stats(request.get_ref()).await.map(Response::new)
    }

    async fn system_stat(&self, _: Request<()>) -> Result<Response<SystemStatResponse>, Status> {
        system::system_stat(&self.0).await.map(one)
    }

    async fn upgrade(&self, request: Request<UpgradeRequest>) -> Result<Response<UpgradeResponse>, Status> {
        lifecycle::upgrade(&self.0, request.get_ref()).map(one)
    }

    async fn version(&self, _: Request<()>) -> Result<Response<VersionResponse>, Status> {
        Ok(one(system::version(&self.0)))
    }

    async fn generate_client_configuration(
        &self,
        request: Request<GenerateClientConfigurationRequest>,
    ) -> Result<Response<GenerateClientConfigurationResponse>, Status> {
        kubernetes::client_configuration(&self.0, request.get_ref()).map(one)
    }

    async fn netstat(&self, request: Request<NetstatRequest>) -> Result<Response<NetstatResponse>, Status> {
        netstat::netstat(&self.0, request.into_inner()).await.map(one)
    }

    async fn meta_write(
        &self,
        request: Request<MetaWriteRequest>,
    ) -> Result<Response<MetaWriteResponse>, Status> {
        storage::meta_write(&self.0, request.get_ref()).await.map(one)
    }

    async fn meta_delete(
        &self,
        request: Request<MetaDeleteRequest>,
    ) -> Result<Response<MetaDeleteResponse>, Status> {
        storage::meta_delete(&self.0, request.get_ref()).await.map(one)
    }

    async fn image_pull(
        &self,
        request: Request<ImagePullRequest>,
    ) -> Result<Response<ImagePullResponse>, Status> {
        images::pull_legacy(&self.0.services, request.get_ref()).await.map(Response::new)
    }

    type CopyStream = Reply<Data>;
    async fn copy(&self, request: Request<CopyRequest>) -> Result<Response<Self::CopyStream>, Status> {
        let root = request.into_inner().root_path;
        Ok(Response::new(self.files(move || files::copy(&root))))
    }

    type DmesgStream = Reply<Data>;
    async fn dmesg(&self, request: Request<DmesgRequest>) -> Result<Response<Self::DmesgStream>, Status> {
        let DmesgRequest { follow, tail } = request.into_inner();
        let clock = self.0.clock.clone();
        Ok(Response::new(stream::from_task(move |sender| dmesg::send(sender, clock, follow, tail))))
    }

    type EventsStream = Reply<Event>;
    async fn events(&self, request: Request<EventsRequest>) -> Result<Response<Self::EventsStream>, Status> {
        let events = self.0.events.clone();
        Ok(Response::new(stream::from_task(move |sender| events::send(sender, events, request.into_inner()))))
    }

    type EtcdSnapshotStream = Reply<Data>;
    async fn etcd_snapshot(
        &self,
        _: Request<EtcdSnapshotRequest>,
    ) -> Result<Response<Self::EtcdSnapshotStream>, Status> {
        etcd::snapshot(&self.0).await.map(Response::new)
    }

    type KubeconfigStream = Reply<Data>;
    async fn kubeconfig(&self, _: Request<()>) -> Result<Response<Self::KubeconfigStream>, Status> {
        kubernetes::kubeconfig(&self.0).await.map(Response::new)
    }

    type ListStream = Reply<FileInfo>;
    async fn list(&self, request: Request<ListRequest>) -> Result<Response<Self::ListStream>, Status> {
        Ok(Response::new(self.files(move || files::list(request.get_ref()))))
    }

    type DiskUsageStream = Reply<DiskUsageInfo>;
    async fn disk_usage(
        &self,
        request: Request<DiskUsageRequest>,
    ) -> Result<Response<Self::DiskUsageStream>, Status> {
        Ok(Response::new(self.files(move || files::disk_usage(request.into_inner()))))
    }

    type LogsStream = Reply<Data>;
    async fn logs(&self, request: Request<LogsRequest>) -> Result<Response<Self::LogsStream>, Status> {
        services::logs(request.into_inner()).await.map(Response::new)
    }

    type ReadStream = Reply<Data>;
    async fn read(&self, request: Request<ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        let path = request.into_inner().path;
        Ok(Response::new(self.files(move || files::read(&path))))
    }

    type PacketCaptureStream = Reply<Data>;
    async fn packet_capture(
        &self,
        request: Request<PacketCaptureRequest>,
    ) -> Result<Response<Self::PacketCaptureStream>, Status> {
        capture::capture(&self.0, request.get_ref()).await.map(Response::new)
    }

    type ImageListStream = Reply<ImageListResponse>;
    async fn image_list(
        &self,
        request: Request<ImageListRequest>,
    ) -> Result<Response<Self::ImageListStream>, Status> {
        images::list_legacy(&self.0.services, request.get_ref()).await.map(Response::new)
    }

    async fn etcd_recover(
        &self,
        request: Request<Streaming<Data>>,
    ) -> Result<Response<EtcdRecoverResponse>, Status> {
        recover::receive(&self.0, request.into_inner()).await.map(one)
    }
}
