# docker build -t fine-tuning-studio .
# docker run --rm -p 127.0.0.1:7860:7860 -e STUDIO_PASSWORD=… -v studio:/workspace fine-tuning-studio   (add --gpus all)
FROM python:3.11-slim

# On a card, TRL and bitsandbytes compile small kernels when they are first used, for which Triton calls a C compiler.
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*

RUN useradd --create-home --uid 1000 studio \
    && install -d -m 700 -o studio -g studio /workspace

WORKDIR /opt/studio
COPY requirements.txt constraints.txt ./
# torch first, so that no other package pulls a different build of it.
RUN pip install --no-cache-dir --constraint constraints.txt "$(grep '^torch==' requirements.txt)" \
    && pip install --no-cache-dir --requirement requirements.txt

COPY LICENSE app.py ./
COPY presets ./presets
COPY samples ./samples
COPY studio ./studio

# The page listens on every address of the container and refuses to start without STUDIO_PASSWORD.
ENV STUDIO_HOST=0.0.0.0 \
    STUDIO_PORT=7860 \
    STUDIO_WORKSPACE=/workspace \
    HF_HOME=/workspace/hub \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    PYTHONUNBUFFERED=1

USER studio
VOLUME /workspace
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=180s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + os.environ['STUDIO_PORT'] + '/healthz', timeout=4)"]
CMD ["python", "-m", "studio", "serve"]
