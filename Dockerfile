# For NVIDIA GPUs, with the versions of requirements.lock. Untested: never built, nor run on a GPU.
#   docker build --tag jaxgan .
#   docker run --gpus all --volume "$PWD/runs:/work/runs" --volume jaxgan:/root/.cache jaxgan jaxgan train mnist_dcgan
# CUDA comes with JAX's wheels; the host needs NVIDIA's driver and its container toolkit, nothing else.
FROM python:3.11-slim
WORKDIR /source
COPY pyproject.toml requirements.lock README.md LICENSE NOTICE ./
COPY jaxgan jaxgan
COPY configs configs
RUN pip install --no-cache-dir --constraint requirements.lock '.[cuda]'
WORKDIR /work
CMD ["jaxgan", "--help"]
