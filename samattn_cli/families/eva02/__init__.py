"""EVA-02's detection backbone: ViTDet's recipe with rotary positions and SwiGLU."""
