"""Independent jobs, in processes of this machine or on a Ray cluster, with the same results."""

from torchliquid.jobs.job import Job, JobError, Listener, Progress, Silent
from torchliquid.jobs.processes import cores, run_jobs
from torchliquid.jobs.workers import Workers, run_all, workers

__all__ = ["Job", "JobError", "Listener", "Progress", "Silent", "Workers", "cores", "run_all", "run_jobs", "workers"]
